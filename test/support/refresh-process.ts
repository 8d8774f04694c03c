import KeyvRedis from '@keyv/redis';
import { createClient } from '@redis/client';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import type { Duration } from 'nestjs-jwt-state';
import { SessionController } from './session.controller.js';
import { clock, type Platform, startApp } from './test-app.js';

/*
 * One of several processes that issue and exchange refresh tokens over one Redis. Its clock may be
 * ahead of the others.
 */
const { PLATFORM, CLOCK_AHEAD, KEY_PREFIX = '', REDIS_URL = '' } = process.env;

clock.advance(CLOCK_AHEAD as Duration);
const client = createClient({ url: REDIS_URL, disableOfflineQueue: true });
client.on('error', () => {});
await client.connect();
// The cast: @keyv/redis brings the types of an older client.
const adapter = new KeyvRedis(client as unknown as ConstructorParameters<typeof KeyvRedis>[0]);
const app = await startApp({
  platform: PLATFORM as Platform,
  controllers: [SessionController],
  options: {
    refresh: { tokens: {} },
    denyList: { cache: createCache({ stores: [new Keyv(adapter)] }), prefix: KEY_PREFIX },
  },
});
console.log(`${PLATFORM} listens on ${app.url}`);
