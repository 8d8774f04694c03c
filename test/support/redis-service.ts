import KeyvRedis from '@keyv/redis';
import { createClient } from '@redis/client';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { systemClock } from '../../lib/clock.js';
import { createBoundedStore, createStore } from '../../lib/deny-list/create-store.js';
import { TokenEvents } from '../../lib/events/token-events.js';
import { assemble } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { RedisServer } from './redis-server.js';
import { KEYS, keysOf } from './setup.js';

/** One process on a Redis, without Nest: set up as the documentation says. */
export async function redisService(
  { url }: RedisServer,
  options: Partial<JwtStateOptions> = {},
  clock = systemClock,
) {
  const client = createClient({
    url,
    disableOfflineQueue: true,
    socket: { reconnectStrategy: 50 },
  });
  client.on('error', () => {});
  await client.connect();
  const keyv = new Keyv(new KeyvRedis(client as never));
  keyv.on('error', () => {});
  const cache = createCache({ stores: [keyv] });
  const config = resolveOptions({
    keys: KEYS,
    ...options,
    denyList: { ...options.denyList, cache },
  });
  const bounded = createBoundedStore(config, clock, new TokenEvents(clock));
  return {
    ...assemble({ config, keys: await keysOf(KEYS, clock), store: bounded, clock }),
    client,
    bounded,
    /** Without deadline and breaker. */
    store: createStore(config.denyList),
    close: () => client.destroy(),
  };
}
