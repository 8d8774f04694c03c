import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createClient } from '@redis/client';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import type { NearCopy } from '../../lib/deny-list/deny-list.store.js';
import { type NativeStore, nativeStoreOf } from '../../lib/deny-list/native-store.js';
import { type RedisDenyListOptions, redisDenyList } from '../../lib/redis/index.js';
import { RedisServer } from '../support/redis-server.js';
import { until } from '../support/until.js';

Logger.overrideLogger(false);

const PREFIX = 'jst:';
const KEYS = ['jst:jti:a', 'jst:jti:b', 'jst:jti:c', 'jst:witness'];
const ABSENT = KEYS.map(() => undefined);

interface Store extends NativeStore {
  readonly near: NearCopy;
}

type Other = ReturnType<typeof createClient>;

let redis: RedisServer;
let other: Other;
let opened: NativeStore[] = [];

async function openStore(options: Partial<RedisDenyListOptions> = {}): Promise<Store> {
  const cache = redisDenyList({ url: redis.url, ...options } as RedisDenyListOptions);
  const store = nativeStoreOf(cache.stores[0]?.store as object) as Store;
  opened.push(store);
  await store.open({ names: new DenyListKeys(PREFIX) });
  return store;
}

beforeAll(async () => {
  redis = await RedisServer.start();
  other = createClient({ url: redis.url, socket: { reconnectStrategy: 20 } });
  other.on('error', () => {});
  await other.connect();
});
afterAll(async () => {
  other.destroy();
  await redis.stop();
});
beforeEach(async () => {
  if (!redis.running) await redis.restart();
  await redis.flush();
});
afterEach(async () => {
  await Promise.all(opened.map((store) => store.close()));
  opened = [];
});

/** How many commands of some kinds the server has answered. */
async function commandsAnswered(...names: string[]): Promise<number> {
  const stats = await other.info('commandstats');
  return names
    .map((name) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0))
    .reduce((sum, calls) => sum + calls, 0);
}

describe('look-ups that were answered before', () => {
  it('need no round trip, negative answers included', async () => {
    const { near } = await openStore();
    expect(near.recall(KEYS)).toBeUndefined();
    expect(await near.complete(KEYS)).toEqual(ABSENT);
    const before = await commandsAnswered('mget');
    for (let n = 0; n < 500; n++) {
      expect(near.recall(KEYS)).toEqual(ABSENT);
      expect(await near.complete(KEYS)).toEqual(ABSENT);
      await sleep(0); // the heartbeat has its turn
    }
    expect(await commandsAnswered('mget')).toBe(before);
  });

  it('of which some are known ask for the others only', async () => {
    const { near } = await openStore();
    await other.set('jst:jti:c', 'there');
    await near.complete(['jst:jti:a', 'jst:jti:b']);
    await other.set('outside:a', 'no business of ours');
    const answered = await near.complete([
      'jst:jti:c',
      'jst:jti:a',
      'jst:jti:d',
      'jst:jti:b',
      'jst:jti:c',
    ]);
    expect(answered).toEqual(['there', undefined, undefined, undefined, 'there']);
    expect(near.recall(['jst:jti:d', 'jst:jti:c'])).toEqual([undefined, 'there']);
  });

  it('are known by what was read from the store itself, which always asks', async () => {
    const store = await openStore();
    const { near } = store;
    expect(await store.read(KEYS)).toEqual(ABSENT);
    expect(near.recall(KEYS)).toEqual(ABSENT);
    const before = await commandsAnswered('mget');
    await store.read(KEYS);
    expect(await commandsAnswered('mget')).toBe(before + 1);
  });

  it('go on without commands while nobody asks', async () => {
    const { near } = await openStore({ nearCopy: { lease: '200ms' } });
    await near.complete(KEYS);
    near.recall(KEYS);
    await sleep(500);
    // Still in use: the lease is renewed.
    expect(near.recall(KEYS)).toEqual(ABSENT);
    await sleep(5_500);
    const before = await commandsAnswered('get', 'mget');
    await sleep(1_000);
    expect(await commandsAnswered('get', 'mget')).toBe(before);
    expect(near.recall(KEYS)).toBeUndefined();
    expect(await near.complete(KEYS)).toEqual(ABSENT);
    expect(near.recall(KEYS)).toEqual(ABSENT);
  });

  it('are those of guards: nothing else is kept, and there is no news of it', async () => {
    const store = await openStore();
    const names = new DenyListKeys(PREFIX);
    const of = { name: 'tenant', value: 'acme' };
    const asked = [
      names.next('a', 'access'),
      names.jti('a', 'access'),
      names.sid('a'),
      names.revoked(of),
      names.revokedOthers('alice'),
      names.stale(of),
      names.witness,
    ];
    const others = [names.next('a', 'refresh'), names.jti('a', 'refresh'), names.session('a')];
    await store.read([...others, ...asked]);
    expect(store.near.recall(asked)).toEqual(asked.map(() => undefined));
    for (const name of others) expect(store.near.recall([name])).toBeUndefined();

    const before = store.version;
    for (const name of others) {
      await other.set(name, 'x');
      await store.write(name, 'y', 60_000);
    }
    for (const name of asked) {
      expect(store.near.recall([name])).toEqual([undefined]);
      expect(store.version).toBe(before);
    }
    for (const name of asked) {
      await store.near.complete([name]);
      await other.set(name, 'x');
      await until(() => store.near.recall([name]) === undefined, 500);
    }
    expect(await store.read([...others, ...asked])).toEqual([
      ...others.map(() => 'y'),
      ...asked.map(() => 'x'),
    ]);
  });

  it('are told of as few changes as there are', async () => {
    const store = await openStore();
    const names = new DenyListKeys(PREFIX);
    const listener = connect({ port: redis.port, host: '127.0.0.1' });
    let heard = '';
    listener.on('data', (chunk) => {
      heard += chunk.toString('latin1');
    });
    const prefixes = names.asked.map((name) => `PREFIX ${name}`).join(' ');
    listener.write(`HELLO 3\r\nCLIENT TRACKING ON BCAST ${prefixes}\r\n`);
    await until(() => heard.includes('+OK'));
    for (let n = 0; n < 20; n++) await store.write(names.jti(`${n}`, 'refresh'), 'x', 60_000);
    await store.write(names.sid('ended'), '1', 60_000);
    await until(() => heard.includes('invalidate'));
    listener.destroy();
    expect(heard.match(/jst:[\w:-]+/g)).toEqual([names.sid('ended')]);
  });

  it('can be left to Redis', async () => {
    const store = await openStore({ nearCopy: false });
    expect(store.near).toBeUndefined();
    expect(await store.read(KEYS)).toEqual(ABSENT);
  });
});

describe('a change', () => {
  it('of another process is known soon, every time', async () => {
    const { near } = await openStore();
    let slowest = 0;
    for (let n = 0; n < 200; n++) {
      await near.complete(['jst:jti:a']);
      expect(near.recall(['jst:jti:a'])).toBeDefined();
      await other.set('jst:jti:a', `${n}`);
      const written = performance.now();
      await until(() => near.recall(['jst:jti:a']) === undefined, 500);
      slowest = Math.max(slowest, performance.now() - written);
      expect(await near.complete(['jst:jti:a'])).toEqual([`${n}`]);
    }
    expect(slowest).toBeLessThan(500);
  });

  it('of this process is known at once', async () => {
    const store = await openStore();
    for (let n = 0; n < 50; n++) {
      const key = `jst:jti:${n}`;
      await store.near.complete([key]);
      const writing = [
        () => store.write(key, 'x', 1_000),
        () => store.writeIfAbsent(key, 'x', 1_000),
        () => store.writeIfUnchanged(key, undefined, 'x', 1_000),
      ][n % 3]?.();
      expect(store.near.recall([key])).toBeUndefined();
      await writing;
      expect(store.near.recall([key])).toBeUndefined();
      expect(await store.near.complete([key])).toEqual(['x']);
    }
  });

  it('by expiry, deletion or FLUSHALL is known', async () => {
    const { near } = await openStore();
    await other.set('jst:jti:a', 'x', { PX: 50 });
    await other.set('jst:jti:b', 'x');
    expect(await near.complete(['jst:jti:a', 'jst:jti:b'])).toEqual(['x', 'x']);
    await other.del('jst:jti:b');
    await until(() => near.recall(['jst:jti:b']) === undefined);
    await until(() => near.recall(['jst:jti:a']) === undefined);
    expect(await near.complete(['jst:jti:a', 'jst:jti:b'])).toEqual([undefined, undefined]);
    await other.flushAll();
    await until(() => near.recall(['jst:jti:a']) === undefined);
  });

  // Each race thirty times: nothing stale may remain, once the news of it has come.
  it.each<[string, (near: NearCopy, key: string) => Promise<void>]>([
    [
      'written while it is asked for',
      async (near, key) => {
        await Promise.all([near.complete([key]), other.set(key, 'x'), near.complete([key])]);
      },
    ],
    [
      'written and deleted while it is asked for',
      async (near, key) => {
        const asked = [near.complete([key])];
        await other.set(key, 'y');
        asked.push(near.complete([key]));
        await Promise.all([...asked, other.del(key), near.complete([key]), other.set(key, 'x')]);
      },
    ],
    [
      'written after a FLUSHALL while it is asked for',
      async (near, key) => {
        await Promise.all([near.complete([key]), other.flushAll(), near.complete([key])]);
        await Promise.all([near.complete([key]), other.set(key, 'x'), near.complete([key])]);
      },
    ],
    [
      'written while the connection is lost',
      async (near, key) => {
        const asked = [near.complete([key])];
        const killed = other.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']);
        asked.push(near.complete([key]));
        await Promise.allSettled([...asked, killed, other.set(key, 'x'), near.complete([key])]);
      },
    ],
  ])('%s leaves nothing stale', async (_, race) => {
    const { near } = await openStore();
    for (let n = 0; n < 30; n++) {
      const key = `jst:jti:${n}`;
      await race(near, key);
      await until(() => {
        const known = near.recall([key]);
        return known === undefined || known[0] === 'x';
      });
      await until(async () => {
        const answer = await near.complete([key]).catch(() => [undefined]);
        return answer[0] === 'x';
      }, 3_000);
      expect(await near.complete([key])).toEqual(['x']);
    }
  });

  it('is never missed by look-ups under load of other processes', async () => {
    const store = await openStore();
    const { near } = store;
    const key = (n: number) => `jst:jti:${n % 50}`;
    let isOver = false;
    let written = 0;
    const writer = (async () => {
      while (!isOver) {
        const batch = Array.from({ length: 20 }, () => other.set(key(written++), `${written}`));
        await Promise.all(batch);
        await sleep(1);
      }
    })();
    const readers = Array.from({ length: 8 }, async (_, r) => {
      for (let n = 0; !isOver; n++) {
        const keys = Array.from({ length: 8 }, (_, i) => key(n * 7 + r + i));
        if (!near.recall(keys)) expect(await near.complete(keys)).toHaveLength(8);
        // Each value lies under its own key, and only moves on.
        if (n % 10 === 0) {
          const [near1] = await near.complete([key(n)]);
          const [far] = await store.read([key(n)]);
          expect(Number(far ?? 0)).toBeGreaterThanOrEqual(Number(near1 ?? 0));
          if (far !== undefined) expect((Number(far) - 1) % 50).toBe(n % 50);
        }
        if (n % 25 === 0) await sleep(0);
      }
    });
    await sleep(3_000);
    isOver = true;
    await Promise.all([writer, ...readers]);
    await sleep(100);
    const all = Array.from({ length: 50 }, (_, n) => key(n));
    expect(await near.complete(all)).toEqual(await store.read(all));
    expect(near.recall(all)).toEqual(await store.read(all));
  });
});

describe('a server', () => {
  it('whose connection is lost ends what is known, and is asked again after', async () => {
    const { near } = await openStore();
    await near.complete(KEYS);
    await other.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']);
    await until(() => near.recall(KEYS) === undefined, 500);
    await until(async () => (await near.complete(KEYS).catch(() => [])).length === 4, 3_000);
    expect(near.recall(KEYS)).toEqual(ABSENT);
    await other.set('jst:jti:a', 'x');
    await until(() => near.recall(KEYS) === undefined, 500);
  });

  it('that hangs ends what is known within the lease, under load', async () => {
    const { near } = await openStore();
    await near.complete(KEYS);
    for (let n = 0; n < 100; n++) {
      expect(near.recall(KEYS)).toEqual(ABSENT);
      await sleep(5);
    }
    const began = performance.now();
    redis.suspend();
    try {
      const waiting: Promise<unknown>[] = [];
      await until(() => {
        waiting.push(near.complete(['jst:jti:new']).catch(() => undefined));
        return near.recall(KEYS) === undefined;
      }, 3_000);
      expect(performance.now() - began).toBeLessThan(1_100);
      await sleep(300);
      expect(near.recall(KEYS)).toBeUndefined();
      redis.resume();
      await Promise.all(waiting);
    } finally {
      redis.resume();
    }
    await until(() => near.recall(KEYS) !== undefined || near.complete(KEYS).then(() => false));
    expect(near.recall(KEYS)).toEqual(ABSENT);
  });

  it('that hangs and is written to by another process as soon as it goes on', async () => {
    const { near } = await openStore();
    await near.complete(KEYS);
    redis.suspend();
    const writing = other.set('jst:jti:a', 'x');
    await sleep(1_500);
    expect(near.recall(KEYS)).toBeUndefined();
    const asked = near.complete(KEYS);
    redis.resume();
    await writing;
    await asked;
    await until(async () => (await near.complete(['jst:jti:a']))[0] === 'x', 500);
  });

  it('that was killed and comes back empty is not taken for the one before', async () => {
    const { near } = await openStore();
    await other.set('jst:witness', 'first');
    expect((await near.complete(KEYS)).at(-1)).toBe('first');
    await redis.kill();
    await until(() => near.recall(KEYS) === undefined, 500);
    await expect(near.complete(KEYS)).rejects.toBeDefined();
    await redis.restart();
    await until(async () => (await near.complete(KEYS).catch(() => [])).length === 4, 5_000);
    expect(await near.complete(KEYS)).toEqual(ABSENT);
    expect(near.recall(KEYS)).toEqual(ABSENT);
  });
});

it('takes bounded memory, however many tokens come', async () => {
  setFlagsFromString('--expose_gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const { near } = await openStore({ nearCopy: { size: 10_000 } });
  const memory = () => {
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const key = (n: number) => `jst:jti:${String(n).padStart(22, 'x')}`;
  const ask = async (from: number, to: number) => {
    for (let n = from; n < to; n += 1_000) {
      await near.complete(Array.from({ length: 1_000 }, (_, i) => key(n + i)));
    }
  };
  await ask(0, 20_000);
  const before = memory();
  await ask(20_000, 320_000);
  // All of them would take some 40 MB.
  expect(memory() - before).toBeLessThan(10_000_000);
  // Collecting garbage may have taken longer than the lease.
  await near.complete([key(319_999)]);
  const recent = Array.from({ length: 20_000 }, (_, i) => key(300_000 + i));
  const known = recent.filter((name) => near.recall([name]) !== undefined).length;
  expect(known).toBeGreaterThan(1_000);
  expect(known).toBeLessThanOrEqual(10_000);
});
