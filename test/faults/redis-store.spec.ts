import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { systemClock } from '../../lib/clock.js';
import { encodeId } from '../../lib/deny-list/deny-list.keys.js';
import { RedisStore } from '../../lib/deny-list/redis.store.js';
import { RedisServer } from '../support/redis-server.js';
import { redisService } from '../support/redis-service.js';
import { ending } from '../support/setup.js';

type Service = Awaited<ReturnType<typeof redisService>>;

Logger.overrideLogger(false);

let redis: RedisServer;
let services: Service[] = [];
const service = async (...rest: [Parameters<typeof redisService>[1]?, typeof systemClock?]) => {
  const made = await redisService(redis, ...rest);
  services.push(made);
  return made;
};

beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());
beforeEach(() => redis.flush());
afterEach(() => {
  for (const { close } of services) close();
  services = [];
});

const ahead = { now: () => Date.now() + 5_000 };

describe('a store on Redis', () => {
  it('is atomic for all who share it', async () => {
    const { store } = await service();
    expect(store).toBeInstanceOf(RedisStore);
    expect(store).toMatchObject({ atomic: 'store', ephemeral: false });
  });

  it('finds what was written, in order, and forgets it in time', async () => {
    const { store } = await service();
    await store.write('a', 'one', 60_000);
    await store.write('b', 'two', undefined);
    await store.write('c', 'short', 20);
    expect(await store.read(['b', 'none', 'a', 'c', 'b'])).toEqual([
      'two',
      undefined,
      'one',
      'short',
      'two',
    ]);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(await store.read(['c', 'b'])).toEqual([undefined, 'two']);
  });

  it('has one winner of a set-if-absent among 100 callers of two processes with two clocks', async () => {
    const [one, two] = [await service(), await service({}, ahead)];
    const callers = Array.from({ length: 100 }, (_, i) => `caller ${i}`);
    const answers = await Promise.all(
      callers.map((caller, i) =>
        (i % 2 ? one : two).store.writeIfAbsent('key', caller, i % 3 ? 60_000 : undefined),
      ),
    );
    const winners = callers.filter((_, i) => answers[i] === undefined);
    expect(winners).toHaveLength(1);
    expect(new Set(answers)).toEqual(new Set([undefined, winners[0]]));
    expect(await one.store.read(['key'])).toEqual(winners);
  });

  it('writes where the expected stands, and else says what does', async () => {
    const { store, client } = await service();
    const exchange = (expected: string | undefined, value: string) =>
      store.writeIfUnchanged('key', expected, value, 60_000);
    expect(await exchange('x', 'y')).toEqual({ written: false, current: undefined });
    expect(await exchange(undefined, 'one')).toEqual({ written: true });
    expect(await exchange(undefined, 'two')).toEqual({ written: false, current: 'one' });
    expect(await exchange('one', 'two')).toEqual({ written: true });
    expect(await store.read(['key'])).toEqual(['two']);
    const [name = ''] = await client.keys('*key');
    expect(await client.pTTL(name)).toBeGreaterThan(50_000);
  });

  it('loses no change among exchanges of two processes', async () => {
    const [one, two] = [await service(), await service()];
    await one.store.write('n', '0', 60_000);
    const increment = async ({ store }: Service) => {
      for (let expected: string | undefined = '0'; ; ) {
        const next = String(Number(expected) + 1);
        const result = await store.writeIfUnchanged('n', expected, next, 60_000);
        if (result.written) return;
        expected = result.current;
      }
    };
    await Promise.all(Array.from({ length: 40 }, (_, i) => increment(i % 2 ? one : two)));
    expect(await one.store.read(['n'])).toEqual(['40']);
  });

  it('never shortens: of two ends the later one counts', async () => {
    const { store, client } = await service();
    expect(store.neverShortens).toBe(true);
    const left = async (key: string) => {
      const [name = ''] = await client.keys(`*${key}`);
      return client.pTTL(name);
    };
    await store.write('key-a', 'one', 60_000);
    await store.write('key-a', 'two', 1_000);
    expect(await left('key-a')).toBeGreaterThan(50_000);
    await store.writeIfUnchanged('key-a', 'two', 'three', 1_000);
    expect(await left('key-a')).toBeGreaterThan(50_000);
    await store.writeIfUnchanged('key-a', 'three', 'four', 120_000);
    expect(await left('key-a')).toBeGreaterThan(110_000);
    await store.write('key-a', 'five', 14 * 86_400_000);
    expect(await left('key-a')).toBeGreaterThan(14 * 86_400_000 - 10_000);
    await store.write('key-b', 'for ever', undefined);
    expect(await left('key-b')).toBe(-1);
    await store.write('key-b', 'one', 1_000);
    expect(await left('key-b')).toBeGreaterThan(0);
    await store.writeIfUnchanged('key-b', 'one', 'for ever', undefined);
    expect(await left('key-b')).toBe(-1);
    expect(await store.read(['key-a', 'key-b'])).toEqual(['five', 'for ever']);
  });

  it('writes two entries in one step, and takes one back that is still the same', async () => {
    const { store } = await service();
    const { writeBothIfAbsent, removeIfUnchanged } = store as Required<typeof store>;
    const both = (value: string) =>
      [
        { key: 'a', value, ttl: 60_000 },
        { key: 'b', value, ttl: 60_000 },
      ] as const;
    expect(await writeBothIfAbsent(...both('one'))).toEqual([undefined, undefined]);
    expect(await writeBothIfAbsent(...both('two'))).toEqual(['one', undefined]);
    expect(await removeIfUnchanged('a', 'two')).toBe(false);
    expect(await removeIfUnchanged('a', 'one')).toBe(true);
    expect(await removeIfUnchanged('a', 'one')).toBe(false);
    expect(await writeBothIfAbsent(...both('two'))).toEqual([undefined, 'one']);
    expect(await store.read(['a', 'b'])).toEqual([undefined, 'one']);
  });

  it('concludes a succession: the record says so, and what leads on ends sooner', async () => {
    const { store, client } = await service();
    const { conclude } = store as Required<typeof store>;
    const left = async (key: string) => {
      const [name = ''] = await client.keys(`*:${key}`);
      return client.pTTL(name);
    };
    await store.write('next', 'x', 60_000);
    // It leads elsewhere, or cannot be read, or is not there.
    for (const record of ['12 c', 'garbage', '12 bb +']) {
      await store.write('jti', record, 60_000);
      await conclude('jti', 'b', 'next', 1_000);
      expect(await store.read(['jti'])).toEqual([record]);
    }
    await conclude('none', 'b', 'next', 1_000);
    expect(await left('next')).toBeGreaterThan(50_000);
    await store.write('jti', '12 b +', 60_000);
    await conclude('jti', 'b', 'next', 30_000);
    expect(await left('next')).toBeLessThanOrEqual(30_000);
    expect(await left('jti')).toBeGreaterThan(50_000);
    // Once is enough.
    await conclude('jti', 'b', 'next', 1_000);
    expect(await left('next')).toBeGreaterThan(20_000);
    expect(await store.read(['jti', 'next', 'none'])).toEqual(['12 b *', 'x', undefined]);
  });

  it('a value of another kind is no answer', async () => {
    const { store, client } = await service();
    await store.write('key', 'x', 60_000);
    const [name = ''] = await client.keys('*key');
    await client.del(name);
    await client.sAdd(name, 'member');
    await expect(store.writeIfAbsent('key', 'y', 1_000)).rejects.toBeDefined();
    await expect(store.writeIfUnchanged('key', undefined, 'y', 1_000)).rejects.toBeDefined();
  });
});

describe('the deny list in Redis', () => {
  it('has keys as documented, of which all but the witness end', async () => {
    const { tokens, resolver, protocol, client } = await service({
      claims: () => ({ tenant: 'acme' }),
      denyList: { claims: ['tenant'] },
    });
    const issued = await tokens.issue('alice@example.org');
    const { sid, jti } = issued.claims;
    const commit = await protocol.begin(await resolver.resolve(issued.claims, 'leave'), 'session');
    await commit.close();
    const next = await commit.replace();
    await tokens.markStale({ sub: 'alice@example.org' });
    await tokens.markStale({ tenant: 'acme' });
    await tokens.revoke({ sub: 'alice@example.org', except: next?.claims as never });
    await tokens.revoke({ sub: 'alice@example.org' });
    await tokens.revoke({ tenant: 'acme' });
    await tokens.revoke({ sid });

    const keys: string[] = [];
    for await (const found of client.scanIterator({ MATCH: '*' })) keys.push(...[found].flat());
    const plain = keys.map((key) =>
      key.replace(/^(keyv:+)?jst:/, '').replaceAll(/[\w-]{43}$/g, '#'),
    );
    expect(plain.sort()).toEqual(
      [
        'witness',
        `next:${encodeId(jti)}`,
        `jti:${encodeId(jti)}`,
        `sid:${encodeId(sid)}`,
        `stale:sid:${encodeId(sid)}`,
        'stale:sub:#',
        'stale:tenant:#',
        'revoked:sub:#',
        'revoked:tenant:#',
        'revoked-others:#',
      ].sort(),
    );
    for (const key of keys) {
      expect(key).toMatch(/^[\x21-\x7e]{1,100}$/);
      const ttl = await client.pTTL(key);
      if (key.endsWith('witness')) expect(ttl).toBe(-1);
      else expect(ttl).toBeGreaterThan(0);
      expect(ttl).toBeLessThan(920_000);
      // No token that could be used, and no subject in the clear.
      expect(`${key} ${await client.get(key)}`).not.toContain(issued.accessToken);
      expect(key).not.toContain('alice');
    }
  });

  it('is one for two processes', async () => {
    const options = { claims: () => ({}) };
    const [one, two] = [await service(options), await service(options, ahead)];
    const issued = await one.tokens.issue('alice');
    expect(await ending(two.tokens.verify(issued.accessToken))).toBe('ok');
    await two.tokens.markStale({ sub: 'alice' });
    expect(await ending(one.tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
    const resolved = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        (i % 2 ? one : two).resolver.resolve(issued.claims, 'reissue'),
      ),
    );
    expect(new Set(resolved.map(({ current }) => current.jti)).size).toBe(1);
    await one.tokens.revoke({ sub: 'alice' });
    expect(await ending(two.tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('keeps every deadline of handlers in two processes', async () => {
    const options = { claims: () => ({}) };
    const [one, two] = [await service(options), await service(options)];
    const { claims } = await one.tokens.issue('alice');
    const begin = async ({ protocol, resolver }: Service) =>
      protocol.begin(await resolver.resolve(claims, 'leave'), 'subject');
    const commits = await Promise.all(
      Array.from({ length: 8 }, (_, i) => begin(i % 2 ? one : two)),
    );
    for (const [i, commit] of commits.entries()) {
      expect((await one.tokens.issue('alice')).claims.seen.until).toBeDefined();
      await commit.close();
      if (i === commits.length - 1) break;
    }
    expect((await two.tokens.issue('alice')).claims.seen.until).toBeUndefined();
  });

  it('an answer that is in the socket already counts, however busy the process was', async () => {
    const { tokens } = await service({ denyList: { lookupTimeout: '50ms' } });
    const issued = await tokens.issue('alice');
    for (let i = 0; i < 5; i++) {
      const verified = ending(tokens.verify(issued.accessToken));
      // The question leaves; then this process is busy for longer than the deadline.
      for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
      const until = performance.now() + 150;
      while (performance.now() < until);
      expect(await verified).toBe('ok');
    }
  });
});
