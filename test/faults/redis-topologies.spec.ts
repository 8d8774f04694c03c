import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createSentinel } from '@redis/client';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import { type NativeStore, nativeStoreOf } from '../../lib/deny-list/native-store.js';
import { type RedisDenyListOptions, redisDenyList } from '../../lib/redis/index.js';
import { CapturedLog } from '../support/captured-log.js';
import { RedisCluster, redisCli } from '../support/redis-cluster.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import { until } from '../support/until.js';

const log = new CapturedLog();
Logger.overrideLogger(log);

let opened: NativeStore[] = [];
afterEach(async () => {
  await Promise.all(opened.map((store) => store.close()));
  opened = [];
  log.clear();
});

function storeOf(options: RedisDenyListOptions): NativeStore {
  const store = nativeStoreOf(redisDenyList(options).stores[0]?.store as object) as NativeStore;
  opened.push(store);
  return store;
}

async function open(options: RedisDenyListOptions): Promise<NativeStore> {
  const store = storeOf(options);
  await store.open({ names: new DenyListKeys('jst:') });
  return store;
}

const keys = Array.from({ length: 60 }, (_, n) => `jst:sid:${n}`);
const takes = (store: NativeStore, key = 'jst:jti:a') =>
  store.write(key, 'x', 60_000).then(
    () => true,
    () => false,
  );

/** What was written to its master is on a replica as well. */
const arrived = ({ port }: { port: number }, key: string) =>
  until(async () => (await redisCli(port, 'EXISTS', key)) === '1\n', 10_000);

describe('a master that Sentinel names', () => {
  let group: RedisSentinel;
  beforeAll(async () => {
    group = await RedisSentinel.start();
  }, 60_000);
  afterAll(() => group.stop());

  const options = ({ sentinel } = group): RedisDenyListOptions => ({
    sentinel: {
      name: RedisSentinel.NAME,
      sentinelRootNodes: [{ host: '127.0.0.1', port: sentinel.port }],
    },
  });

  it('asked by a client that was given does without order, and never goes to replicas', async () => {
    const { sentinel } = options() as { sentinel: Parameters<typeof createSentinel>[0] };
    const make = async (replicaPoolSize: number) => {
      const client = createSentinel({ ...sentinel, replicaPoolSize });
      client.on('error', () => {});
      await client.connect();
      return client;
    };
    const [client, reading] = [await make(0), await make(1)];
    const store = await open({ client });
    expect([store.isOrdered, store.writeBothIfAbsent]).toEqual([false, undefined]);
    expect(await takes(store, 'jst:given')).toBe(true);
    expect(await store.read(['jst:given'])).toEqual(['x']);
    await expect(open({ client: reading })).rejects.toThrow(/replicas/);
    await Promise.all([client.destroy(), reading.destroy()]);
  }, 30_000);

  it('has a near copy, and another one after a failover', async () => {
    const [store, other] = [await open(options()), await open(options())];
    const near = store.near as NonNullable<typeof store.near>;
    await store.write('jst:witness', 'first', undefined);
    expect(await near.complete(['jst:jti:a', 'jst:witness'])).toEqual([undefined, 'first']);
    expect(near.recall(['jst:jti:a', 'jst:witness'])).toEqual([undefined, 'first']);
    await other.write('jst:jti:a', 'x', 60_000);
    await until(() => near.recall(['jst:jti:a']) === undefined, 500);
    expect(await near.complete(['jst:jti:a', 'jst:jti:b'])).toEqual(['x', undefined]);
    await arrived(group.replica, 'jst:jti:a');

    await group.master.kill();
    await until(() => near.recall(['jst:jti:b']) === undefined, 1_500);
    await until(() => takes(store, 'jst:jti:c'), 20_000);
    expect(await near.complete(['jst:jti:a', 'jst:jti:b', 'jst:jti:c'])).toEqual([
      'x',
      undefined,
      'x',
    ]);
    expect(near.recall(['jst:jti:b'])).toEqual([undefined]);
    await until(() => takes(other, 'jst:jti:b'), 10_000);
    await until(() => near.recall(['jst:jti:b']) === undefined, 500);
    expect(await redisCli(group.replica.port, 'GET', 'jst:jti:b')).toBe('x\n');
  }, 60_000);

  it('is followed also when nobody tells that another has become it', async () => {
    const own = await RedisSentinel.start();
    try {
      const store = await open(options(own));
      await store.write('jst:jti:a', 'x', 60_000);
      await arrived(own.replica, 'jst:jti:a');
      // The client is not told of a failover from here on.
      await redisCli(own.sentinel.port, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
      await sleep(500);
      await redisCli(own.sentinel.port, 'SENTINEL', 'FAILOVER', RedisSentinel.NAME);
      const role = async () => redisCli(own.replica.port, 'ROLE').catch(() => '');
      await until(async () => (await role()).startsWith('master'), 20_000);
      await sleep(4_000);
      // Whoever still asks the old one hears nothing from here on.
      own.master.suspend();
      const began = performance.now();
      expect(await store.read(['jst:jti:a'])).toEqual(['x']);
      expect(performance.now() - began).toBeLessThan(1_000);
    } finally {
      await own.stop();
    }
  }, 60_000);

  it('that cannot be found at boot is a warning', async () => {
    const sentinel = { name: 'tokens', sentinelRootNodes: [{ host: '127.0.0.1', port: 1 }] };
    const store = await open({ sentinel });
    expect(log.text).toContain('starts without');
    await store.close();
  }, 30_000);
});

describe('a cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start();
  }, 60_000);
  afterAll(() => cluster.stop());

  const options = (): RedisDenyListOptions => ({ cluster: { rootNodes: cluster.rootNodes } });

  it('holds each key on one of its servers, and answers for all', async () => {
    const store = await open(options());
    expect(store.near).toBeUndefined();
    await Promise.all(keys.map((key) => store.write(key, key, 60_000)));
    const sizes = await Promise.all(
      cluster.servers.map(async ({ port }) => Number(await redisCli(port, 'DBSIZE'))),
    );
    expect(sizes.every((size) => size > 0)).toBe(true);
    expect(await store.read([...keys, 'jst:none'])).toEqual([...keys, undefined]);
    expect(await store.writeIfAbsent('jst:sid:1', 'y', 1_000)).toBe('jst:sid:1');
    expect(await store.writeIfUnchanged('jst:sid:2', 'jst:sid:2', 'y', 60_000)).toEqual({
      written: true,
    });
    expect(log.text.match(/persistence is off/g)).toHaveLength(1);
  });

  it('fails in time while a server is lost, and goes on when it is back', async () => {
    const store = await open(options());
    const [first] = cluster.servers;
    await first?.kill();
    const began = performance.now();
    const answers = await Promise.allSettled(keys.map(async (key) => store.read([key])));
    expect(performance.now() - began).toBeLessThan(3_000);
    expect(answers.some(({ status }) => status === 'rejected')).toBe(true);
    await first?.restart();
    await cluster.untilWhole();
    for (const key of keys) await until(() => takes(store, key), 10_000);
    expect(await store.read(keys)).toEqual(keys.map(() => 'x'));
  }, 60_000);

  it('in which a server loses its entries gets a new epoch, and only then', async () => {
    const [store, other] = [await open(options()), await open(options())];
    await store.write('jst:witness', 'epoch-1 86400000', undefined);
    const witness = async () => (await store.read(['jst:witness']))[0];
    const marker = async () => (await store.read(['jst:{jst:witness}sentries']))[0];
    await until(async () => (await marker()) === 'epoch-1', 5_000);
    await sleep(2_500);
    expect(await witness()).toBe('epoch-1 86400000');

    for (const server of cluster.servers) {
      const before = await witness();
      await redisCli(server.port, 'FLUSHALL');
      // Where the witness itself is lost, the deny list begins a new epoch.
      if ((await witness()) === undefined) {
        await store.writeIfAbsent('jst:witness', 'epoch-x 86400000', undefined);
      }
      await until(async () => (await witness()) !== before, 5_000);
      expect(await witness()).toMatch(/^[\w-]+ 86400000$/);
      await until(async () => (await marker()) === (await witness())?.split(' ')[0], 5_000);
      const settled = await witness();
      await sleep(2_500);
      expect(await witness()).toBe(settled);
    }
    expect(log.text).toContain('has lost its entries');
    await other.close();
  }, 60_000);

  it('in which a server comes back empty gets a new epoch as soon as it is met', async () => {
    const store = await open(options());
    const witness = async () => (await store.read(['jst:witness']))[0];
    await store.writeIfAbsent('jst:witness', 'epoch-1 86400000', undefined);
    await sleep(2_500);
    const before = await witness();
    // The witness lies on the second server.
    await cluster.servers[0]?.restart();
    await until(async () => {
      const now = await witness().catch(() => before);
      return now !== undefined && now !== before;
    }, 10_000);
  }, 60_000);
});

describe('a cluster with replicas', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start({ replicas: 1 });
  }, 60_000);
  afterAll(() => cluster.stop());

  const options = (): RedisDenyListOptions => ({ cluster: { rootNodes: cluster.rootNodes } });
  const outcomes = async (store: NativeStore) =>
    Promise.all(keys.map(async (key) => takes(store, key)));

  it('in which one server hangs: the others answer, and its replica is found', async () => {
    const store = storeOf(options());
    // Not the default of 150 ms: seven servers and another test share this machine.
    await store.open({ names: new DenyListKeys('jst:'), deadline: 500 });
    await Promise.all(keys.map((key) => store.write(key, key, 60_000)));
    await sleep(500);
    const lost = await cluster.masterOf('jst:sid:1');
    const masters = await cluster.mastersOf(keys);
    lost.suspend();
    try {
      const began = performance.now();
      const answers = await Promise.all(
        keys.map((key) =>
          Promise.resolve(store.read([key])).then(
            (values) => values[0],
            () => 'lost',
          ),
        ),
      );
      expect(performance.now() - began).toBeLessThan(1_500);
      expect(answers).toEqual(keys.map((key, n) => (masters[n] === lost ? 'lost' : key)));
      // Nobody closes that connection: it has to be given up.
      await until(async () => (await outcomes(store)).every(Boolean), 20_000);
      expect(await cluster.masterOf('jst:sid:1')).not.toBe(lost);
    } finally {
      lost.resume();
    }
    expect(await store.read(keys)).toEqual(keys.map(() => 'x'));
  }, 60_000);

  it('is joined while a master is dead that has no successor yet', async () => {
    await cluster.untilWhole();
    const lost = await cluster.masterOf('jst:sid:2');
    await lost.kill();
    const store = await open(options());
    expect(log.text).toContain('starts without');
    await until(async () => (await outcomes(store)).every(Boolean), 20_000);
    expect(log.text).toContain('Connected to Redis.');
  }, 60_000);
});
