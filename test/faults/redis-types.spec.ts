import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createClient, createClientPool, createSentinel } from '@redis/client';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import { type DenyListStore, StoreAnswerError } from '../../lib/deny-list/deny-list.store.js';
import { type NativeStore, nativeStoreOf } from '../../lib/deny-list/native-store.js';
import { type RedisDenyListOptions, redisDenyList } from '../../lib/redis/index.js';
import { RoundTrips } from '../bench/round-trips.js';
import { CapturedLog } from '../support/captured-log.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import { RedisServer } from '../support/redis-server.js';
import { redisService } from '../support/redis-service.js';
import { ending } from '../support/setup.js';

const log = new CapturedLog();
Logger.overrideLogger(log);

/** What a test leaves to be undone, the latest first. */
let endings: (() => unknown)[] = [];
let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());
beforeEach(async () => {
  await redis.flush();
  log.clear();
});
afterEach(async () => {
  for (const end of endings.reverse()) await end();
  endings = [];
});

async function open(options: RedisDenyListOptions): Promise<NativeStore> {
  const store = nativeStoreOf(redisDenyList(options).stores[0]?.store as object) as NativeStore;
  endings.push(() => store.close());
  await store.open({ names: new DenyListKeys('jst:') });
  return store;
}

interface Client {
  connect(): Promise<unknown>;
  destroy(): void;
  on(event: 'error', listener: () => void): unknown;
}

async function connected<C extends Client>(client: C): Promise<C> {
  client.on('error', () => {});
  await client.connect();
  endings.push(() => client.destroy());
  return client;
}

describe('a key of the deny list that holds a value of another type', () => {
  const names = new DenyListKeys('jst:');
  const TYPES: [string, (key: string) => string[]][] = [
    ['a list', (key) => ['LPUSH', key, 'a secret']],
    ['a set', (key) => ['SADD', key, 'a secret']],
    ['a hash', (key) => ['HSET', key, 'name', 'a secret']],
    ['a sorted set', (key) => ['ZADD', key, '1', 'a secret']],
    ['a stream', (key) => ['XADD', key, '*', 'name', 'a secret']],
  ];

  it.each(TYPES)('(%s) is never taken for none: the request is 503', async (_type, put) => {
    const { tokens, client, close } = await redisService(redis);
    endings.push(close);
    const { accessToken, claims } = await tokens.issue('alice');
    const { accessToken: other } = await tokens.issue('bob');
    const { jti, sid } = claims;
    const sub = { name: 'sub', value: 'alice' };
    const keys = [
      names.sid(sid),
      names.jti(jti, 'access'),
      names.next(jti, 'access'),
      names.stale(sub),
      names.revoked(sub),
      names.revokedOthers('alice'),
    ];
    for (const key of keys) {
      const command = put(`keyv::keyv:${key}`).map(String);
      const [name = ''] = await namesIn(client, key, command);
      for (let attempt = 0; attempt < 5; attempt++) {
        expect(await ending(tokens.verify(accessToken))).toBe('DENY_LIST_UNAVAILABLE');
        // It is no outage: what has nothing to do with that key is answered.
        expect(await ending(tokens.verify(other))).toBe('ok');
      }
      await client.del(name);
      expect(await ending(tokens.verify(accessToken))).toBe('ok');
    }
    const lines = log.lines.filter((line) => line.includes('WRONGTYPE'));
    expect(lines[0]).toContain(names.sid(sid));
    expect(log.text).not.toContain('a secret');
    expect(log.text).not.toContain(accessToken.split('.')[2]);
  });

  /** Puts the value where this client finds it, under Keyv's own prefix. */
  async function namesIn(
    client: {
      keys(pattern: string): Promise<string[]>;
      sendCommand(words: string[]): Promise<unknown>;
    },
    key: string,
    [verb = '', , ...rest]: string[],
  ): Promise<string[]> {
    const [witness = ''] = await client.keys('*witness');
    const name = witness.replace('jst:witness', key);
    await client.sendCommand([verb, name, ...rest]);
    return [name];
  }

  it('stands in the log once a second, however many requests meet it', async () => {
    const { tokens, client, close } = await redisService(redis);
    endings.push(close);
    const { accessToken, claims } = await tokens.issue('alice');
    await namesIn(client, names.sid(claims.sid), ['SADD', '', 'x']);
    await Promise.all(Array.from({ length: 50 }, () => ending(tokens.verify(accessToken))));
    expect(log.lines.filter((line) => line.includes('WRONGTYPE'))).toHaveLength(1);
  });

  it('under the witness nobody can say whether the store is the same', async () => {
    const { tokens, client, close } = await redisService(redis);
    endings.push(close);
    const { accessToken } = await tokens.issue('alice');
    const [witness = ''] = await client.keys('*witness');
    await client.del(witness);
    await client.sAdd(witness, 'x');
    expect(await ending(tokens.verify(accessToken))).toBe('DENY_LIST_UNAVAILABLE');
    expect(await ending(tokens.issue('alice'))).toBe('DENY_LIST_UNAVAILABLE');
  });

  it('ends a session all the same: a revocation takes its place', async () => {
    const { tokens, client, close } = await redisService(redis);
    endings.push(close);
    const { accessToken, claims } = await tokens.issue('alice');
    await namesIn(client, names.sid(claims.sid), ['SADD', '', 'x']);
    await tokens.revoke(claims);
    expect(await ending(tokens.verify(accessToken))).toBe('TOKEN_REVOKED');
  });
});

/** The rule, wherever the keys lie. */
async function refusesOtherTypes(
  store: DenyListStore,
  put: (key: string) => Promise<unknown>,
): Promise<void> {
  await store.write('jst:jti:a', 'x', 60_000);
  await put('jst:jti:b');
  expect(await store.read(['jst:jti:a', 'jst:jti:c', 'jst:jti:a'])).toEqual(['x', undefined, 'x']);
  for (let attempt = 0; attempt < 5; attempt++) {
    for (const keys of [['jst:jti:a', 'jst:jti:b', 'jst:jti:c'], ['jst:jti:b']]) {
      const error = await store.read(keys).then(String, (cause: unknown) => cause);
      expect(error).toBeInstanceOf(StoreAnswerError);
      expect(String(error)).toContain('jst:jti:b');
    }
  }
  const attempts = [
    () => store.writeIfAbsent('jst:jti:b', 'y', 1_000),
    () => store.writeIfUnchanged('jst:jti:b', undefined, 'y', 1_000),
    () => store.removeIfUnchanged?.('jst:jti:b', 'y'),
    () =>
      store.writeBothIfAbsent?.(
        { key: 'jst:jti:c', value: 'y', ttl: 1_000 },
        { key: 'jst:jti:b', value: 'y', ttl: 1_000 },
      ),
    () => store.conclude?.('jst:jti:b', 'y', 'jst:jti:c', 1_000),
  ];
  for (const attempt of attempts) {
    const attempted = attempt();
    if (attempted) await expect(attempted).rejects.toBeInstanceOf(StoreAnswerError);
  }
  expect(await store.read(['jst:jti:a', 'jst:jti:c'])).toEqual(['x', undefined]);
}

const setAt = (client: { sAdd(key: string, member: string): Promise<unknown> }) => (key: string) =>
  client.sAdd(key, 'x');

describe('a value of another type is an error', () => {
  it.each([
    ['with a near copy', {}],
    ['without one', { nearCopy: false as const }],
  ])('on one server, %s', async (_name, options) => {
    const admin = await connected(createClient({ url: redis.url }));
    await refusesOtherTypes(await open({ url: redis.url, ...options }), setAt(admin));
  });

  it('for the near copy, which goes on asking', async () => {
    const admin = await connected(createClient({ url: redis.url }));
    const store = await open({ url: redis.url });
    const near = store.near as NonNullable<typeof store.near>;
    const keys = ['jst:jti:a', 'jst:jti:b'];
    expect(await near.complete(keys)).toEqual([undefined, undefined]);
    await admin.sAdd('jst:jti:b', 'x');
    for (let attempt = 0; attempt < 50 && near.recall(keys); attempt++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(near.recall(keys)).toBeUndefined();
    await expect(near.complete(keys)).rejects.toBeInstanceOf(StoreAnswerError);
    expect(near.recall(keys)).toBeUndefined();
  });

  it('over a client and a pool of the application', async () => {
    const client = await connected(createClient({ url: redis.url }));
    await refusesOtherTypes(await open({ client }), setAt(client));
    const pool = await connected(createClientPool({ url: redis.url }) as never);
    await refusesOtherTypes(await open({ client: pool }), setAt(client));
  });

  it('for an account that may use GET and neither MGET nor EXISTS', async () => {
    const admin = await connected(createClient({ url: redis.url }));
    const rights = 'ACL SETUSER alice on >word ~jst:* +set +del +pttl +eval +info +client|tracking';
    for (const read of ['+get', '+get +mget', '+get +exists']) {
      await redis.flush();
      await admin.sendCommand(`${rights} resetkeys ~jst:* -get -mget -exists ${read}`.split(' '));
      const store = await open({ url: redis.url, username: 'alice', password: 'word' });
      await refusesOtherTypes(store, setAt(admin));
    }
  });

  it('at the master that Sentinel names, in one round trip', async () => {
    const group = await RedisSentinel.start();
    endings.push(() => group.stop());
    const admin = await connected(createClient({ url: group.master.url }));
    const trips = await RoundTrips.before(group.master.port);
    endings.push(() => trips.close());
    const sentinel = {
      name: RedisSentinel.NAME,
      sentinelRootNodes: [{ host: '127.0.0.1', port: group.sentinel.port }],
      nodeAddressMap: {
        [`127.0.0.1:${group.master.port}`]: {
          host: '127.0.0.1',
          port: Number(new URL(trips.url).port),
        },
      },
    };
    const store = await open({ sentinel, nearCopy: false });
    await refusesOtherTypes(store, setAt(admin));
    const client = await connected(createSentinel(sentinel) as never);
    await refusesOtherTypes(await open({ client }), setAt(admin));
    await oneTripEach(trips, store);
  }, 60_000);

  it('in a cluster, and shuts no server out', async () => {
    const cluster = await RedisCluster.start();
    endings.push(() => cluster.stop());
    const store = await open({ cluster: { rootNodes: cluster.rootNodes } });
    await refusesOtherTypes(store, async (key) => {
      const client = await connected(createClient({ url: (await cluster.masterOf(key)).url }));
      return client.sAdd(key, 'x');
    });
  }, 60_000);
});

/** Commands that leave together are one. */
async function oneTripEach(trips: RoundTrips, store: DenyListStore): Promise<void> {
  const keys = ['next', 'jti', 'sid', 'stale', 'revoked', 'witness'].map((kind) => `jst:${kind}:z`);
  await store.write(keys[1] as string, 'x', 60_000);
  const before = trips.count;
  for (let look = 0; look < 20; look++) await store.read(keys);
  expect(trips.count - before).toBe(20);
}

describe('a look costs one round trip', () => {
  it.each([['redisDenyList()'], ['@keyv/redis']])('with %s', async (kind) => {
    const trips = await RoundTrips.before(redis.port);
    endings.push(() => trips.close());
    if (kind === '@keyv/redis') {
      const { store, close } = await redisService({ url: trips.url } as RedisServer);
      endings.push(close);
      await oneTripEach(trips, store);
    } else {
      await oneTripEach(trips, await open({ url: trips.url, nearCopy: false }));
    }
  });
});
