import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { systemClock } from '../../lib/clock.js';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import { type NativeStore, nativeStoreOf } from '../../lib/deny-list/native-store.js';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import { redisDenyList } from '../../lib/redis/index.js';
import { RedisServer } from '../support/redis-server.js';
import { redisService } from '../support/redis-service.js';
import { assembled, ending, storeKeys } from '../support/setup.js';
import { until } from '../support/until.js';

/*
 * Redis does what it was asked to do after the client was told 503. The client comes back when its grace
 * period would be over, and is not logged out: nobody ever had the successor.
 */

Logger.overrideLogger(false);

const GRACE_MS = 1_000;
const OPTIONS = { claims: () => ({}), reissue: { gracePeriod: '1s' } } as const;

let redis: RedisServer;
let closings: (() => unknown)[] = [];
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());
beforeEach(() => redis.flush());
afterEach(async () => {
  for (const close of closings) await close();
  closings = [];
});

async function native(): Promise<Assembly> {
  const cache = redisDenyList({ url: redis.url });
  const store = nativeStoreOf(cache.stores[0]?.store as object) as NativeStore;
  await store.open({ names: new DenyListKeys('jst:') });
  closings.push(() => store.close());
  return assembled(OPTIONS, { clock: systemClock, store, deadline: 150 });
}

async function overKeyv(): Promise<Assembly> {
  const made = await redisService(redis, OPTIONS);
  closings.push(made.close);
  return made;
}

/** Whoever looks in from outside. */
async function onlooker() {
  const { client, close } = await redisService(redis);
  closings.push(close);
  return client;
}

async function staleToken({ tokens, verifier }: Assembly) {
  const { accessToken } = await tokens.issue('alice');
  await tokens.markStale({ sub: 'alice' });
  return verifier.verify(accessToken);
}

describe.each([
  ['redisDenyList()', native],
  ['@keyv/redis', overKeyv],
])('%s', (_, service) => {
  it('the answer is late, and the write happened', async () => {
    const { resolver, ...made } = await service();
    const token = await staleToken({ resolver, ...made });
    const client = await onlooker();
    await client.sendCommand(['CLIENT', 'PAUSE', '400', 'WRITE']);
    const request = () => ending(resolver.resolve(token, 'reissue'));
    expect(await request()).toBe('DENY_LIST_UNAVAILABLE');
    await sleep(400 + GRACE_MS + 300);
    const names = (await client.keys('*')).map((name) => name.replace(/^keyv:+/, ''));
    expect(names).toContain(storeKeys.next(token.jti, 'access'));
    expect(names).not.toContain(storeKeys.jti(token.jti, 'access'));
    expect(await request()).toBe('ok');
  });

  it('the server hangs for longer than the grace period, and goes on', async () => {
    const { resolver, ...made } = await service();
    const token = await staleToken({ resolver, ...made });
    const { snapshot } = await made.denyList.lookInStore(token);
    redis.suspend();
    // Past the read of a request: what hangs is the step itself.
    const attempt = made.reissuer.succeed(token, snapshot, { why: 'stale', renew: false });
    expect(await ending(attempt)).toBe('DENY_LIST_UNAVAILABLE');
    // Longer than a connection that leaves everything unanswered is kept.
    await sleep(6_500);
    redis.resume();
    const request = () => ending(resolver.resolve(token, 'reissue'));
    let answer = '';
    await until(async () => {
      answer = await request();
      return answer !== 'DENY_LIST_UNAVAILABLE';
    }, 5_000);
    expect(answer).toBe('ok');
  }, 20_000);
});
