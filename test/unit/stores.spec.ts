import { setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel } from 'node:worker_threads';
import { createKeyv } from '@cacheable/memory';
import { describe, expect, it, jest } from '@jest/globals';
import KeyvRedis from '@keyv/redis';
import { createCache } from 'cache-manager';
import { Keyv, type KeyvStoreAdapter } from 'keyv';
import { BoundedStore } from '../../lib/deny-list/bounded.store.js';
import { createMemoryCache, createStore } from '../../lib/deny-list/create-store.js';
import {
  type DenyListStore,
  type NearCopy,
  StoreAnswerError,
} from '../../lib/deny-list/deny-list.store.js';
import { KeyvStore } from '../../lib/deny-list/keyv.store.js';
import { type KeyvRedisAdapter, RedisStore } from '../../lib/deny-list/redis.store.js';
import { DenyListUnavailableError, JwtStateConfigError } from '../../lib/jwt-state.errors.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending } from '../support/setup.js';

const DEADLINE = 40;

const storeOver = (...stores: Keyv[]) =>
  createStore({ cache: createCache({ stores }), prefix: 'p:', lookupTimeout: DEADLINE });

/** An adapter of which a test replaces what it wants to go wrong. */
function adapter(broken: Partial<Record<keyof KeyvStoreAdapter, unknown>> = {}): KeyvStoreAdapter {
  const entries = new Map<string, unknown>();
  return {
    opts: {},
    get: async (key: string) => entries.get(key),
    set: async (key: string, value: unknown) => void entries.set(key, value),
    delete: async (key: string) => entries.delete(key),
    clear: async () => entries.clear(),
    on: () => ({}),
    ...broken,
  } as unknown as KeyvStoreAdapter;
}

/** How a store answers: a value, or `'rejects'`; and `'hangs'` once its deadline is over. */
async function outcome<T>(given: Promise<T>): Promise<T | 'rejects' | 'hangs'> {
  return await Promise.race([
    Promise.resolve(given).catch(() => 'rejects' as const),
    sleep(3 * DEADLINE, 'hangs' as const),
  ]);
}

const KINDS: Record<string, () => DenyListStore> = {
  'the default': () =>
    createStore({ cache: createMemoryCache(), prefix: 'p:', lookupTimeout: DEADLINE }),
  'Keyv over a Map': () => storeOver(new Keyv()),
  'Keyv over @cacheable/memory': () => storeOver(createKeyv({ useClone: false })),
  'Keyv over an adapter': () => storeOver(new Keyv({ store: adapter() })),
  'Keyv with a namespace': () => storeOver(new Keyv({ namespace: 'tokens' })),
};

describe.each(Object.entries(KINDS))('%s as a store', (_, make) => {
  it('finds what was written, in the order it was asked for', async () => {
    const store = make();
    await store.write('p:a', 'one', 10_000);
    await store.write('p:b', 'two', undefined);
    expect(await store.read(['p:b', 'p:none', 'p:a', 'p:b'])).toEqual([
      'two',
      undefined,
      'one',
      'two',
    ]);
    expect(await store.read([])).toEqual([]);
  });

  it('forgets it when its time is over', async () => {
    const store = make();
    await store.write('p:a', 'short', 20);
    await store.write('p:b', 'for ever', undefined);
    await sleep(40);
    expect(await store.read(['p:a', 'p:b'])).toEqual([undefined, 'for ever']);
    expect(await store.writeIfAbsent('p:a', 'again', 1_000)).toBeUndefined();
  });

  it('writes where nothing stands, and else says what does', async () => {
    const store = make();
    expect(await store.writeIfAbsent('p:a', 'first', 1_000)).toBeUndefined();
    expect(await store.writeIfAbsent('p:a', 'second', 1_000)).toBe('first');
    expect(await store.writeIfAbsent('p:w', 'for ever', undefined)).toBeUndefined();
    expect(await store.read(['p:a', 'p:w'])).toEqual(['first', 'for ever']);
  });

  it('writes where the expected stands, and else says what does', async () => {
    const store = make();
    const exchange = store.writeIfUnchanged.bind(store, 'p:a');
    expect(await exchange('x', 'y', 1_000)).toMatchObject({ written: false });
    expect((await exchange('x', 'y', 1_000)).current).toBeUndefined();
    expect(await exchange(undefined, 'one', 1_000)).toMatchObject({ written: true });
    expect(await exchange(undefined, 'two', 1_000)).toEqual({ written: false, current: 'one' });
    expect(await exchange('one', 'two', 1_000)).toMatchObject({ written: true });
    expect(await store.read(['p:a'])).toEqual(['two']);
  });

  it('has one winner among 50 parallel callers, of whom each learns who it is', async () => {
    const store = make();
    const callers = Array.from({ length: 50 }, (_, i) => `caller ${i}`);
    const answers = await Promise.all(
      callers.map((caller) => store.writeIfAbsent('p:a', caller, 1_000)),
    );
    const winners = callers.filter((_, i) => answers[i] === undefined);
    expect(winners).toHaveLength(1);
    expect(new Set(answers)).toEqual(new Set([undefined, winners[0]]));
    expect(await store.read(['p:a'])).toEqual(winners);
  });

  it('loses no change among 50 parallel exchanges', async () => {
    const store = make();
    await store.write('p:n', '0', 10_000);
    const increment = async () => {
      for (let expected: string | undefined = '0'; ; ) {
        const next = String(Number(expected) + 1);
        const result = await store.writeIfUnchanged('p:n', expected, next, 10_000);
        if (result.written) return;
        expected = result.current;
      }
    };
    await Promise.all(Array.from({ length: 50 }, increment));
    expect(await store.read(['p:n'])).toEqual(['50']);
  });
});

describe('the default store', () => {
  const store = () => KINDS['the default']?.() as Required<DenyListStore> & { near: NearCopy };

  it('never shortens: of two ends the later one counts', async () => {
    const one = store();
    expect(one.neverShortens).toBe(true);
    await one.write('p:a', 'one', 10_000);
    await one.write('p:a', 'two', 20);
    await one.writeIfAbsent('p:b', 'one', 10_000);
    await one.writeIfUnchanged('p:b', 'one', 'two', 20);
    await one.write('p:c', 'short', 20);
    await one.write('p:c', 'long', 10_000);
    await sleep(40);
    expect(await one.read(['p:a', 'p:b', 'p:c'])).toEqual(['two', 'two', 'long']);
  });

  it('lets nothing stay for ever that is written with an end', async () => {
    const one = store();
    await one.write('p:a', 'for ever', undefined);
    await one.write('p:a', 'short', 20);
    await one.write('p:b', 'for ever', undefined);
    await one.writeIfUnchanged('p:b', 'for ever', 'short', 20);
    await sleep(40);
    expect(await one.read(['p:a', 'p:b'])).toEqual([undefined, undefined]);
  });

  it('lets what is written without one stay for ever', async () => {
    const one = store();
    await one.write('p:a', 'short', 20);
    await one.writeIfUnchanged('p:a', 'short', 'for ever', undefined);
    await sleep(40);
    expect(await one.read(['p:a'])).toEqual(['for ever']);
  });

  it('writes two entries in one step, and neither where one of them stands', async () => {
    const one = store();
    const both = (value: string) => [
      { key: 'p:a', value, ttl: 1_000 },
      { key: 'p:b', value, ttl: 1_000 },
    ];
    const [first, second] = both('one') as [never, never];
    const writing = one.writeBothIfAbsent(first, second);
    // Before anybody else has a turn.
    expect(one.near.recall(['p:a', 'p:b'])).toEqual(['one', 'one']);
    expect(await writing).toEqual([undefined, undefined]);
    const [third, fourth] = both('two') as [never, never];
    expect(await one.writeBothIfAbsent(third, fourth)).toEqual(['one', undefined]);
    expect(await one.removeIfUnchanged('p:a', 'two')).toBe(false);
    expect(await one.removeIfUnchanged('p:a', 'one')).toBe(true);
    expect(await one.writeBothIfAbsent(third, fourth)).toEqual([undefined, 'one']);
    expect(await one.read(['p:a', 'p:b'])).toEqual([undefined, 'one']);
  });

  it('concludes a succession: the record says so, and what leads on ends sooner', async () => {
    const one = store();
    const [jti, next] = ['p:jti', 'p:next'];
    const put = async (record: string, ttl = 60_000) => {
      await one.writeIfUnchanged(jti, (await one.read([jti]))[0], record, 60_000);
      await one.writeIfUnchanged(next, (await one.read([next]))[0], 'x', ttl);
    };
    // It leads elsewhere, or cannot be read, or is not there.
    for (const record of ['12 c', 'garbage', '12 bb +']) {
      await put(record);
      await one.conclude(jti, 'b', next, 10);
      expect(await one.read([jti])).toEqual([record]);
    }
    await one.conclude('p:none', 'b', next, 10);
    await sleep(30);
    expect(await one.read([next, 'p:none'])).toEqual(['x', undefined]);
    await put('12 b +');
    await one.conclude(jti, 'b', next, 200);
    // Once is enough.
    await one.conclude(jti, 'b', next, 10);
    await sleep(30);
    expect(await one.read([jti, next])).toEqual(['12 b *', 'x']);
    await sleep(200);
    expect(await one.read([jti, next])).toEqual(['12 b *', undefined]);
  });
});

describe('an entry without a lifetime is for ever, whatever the store’s own default is', () => {
  it.each([
    ['Keyv', () => new Keyv({ ttl: 20 })],
    ['Keyv over an adapter', () => new Keyv({ store: adapter(), ttl: 20 })],
    ['@cacheable/memory', () => createKeyv({ ttl: 20 })],
  ])('%s', async (_, make) => {
    let store: DenyListStore;
    try {
      store = storeOver(make());
    } catch (error) {
      // To refuse such a store at boot is as good.
      expect(error).toBeInstanceOf(JwtStateConfigError);
      return;
    }
    await store.writeIfAbsent('p:witness', 'epoch', undefined);
    await sleep(40);
    expect(await store.read(['p:witness'])).toEqual(['epoch']);
  });
});

describe('what a failing adapter answers is never taken for "not found"', () => {
  const failure = async () => {
    throw new Error('down');
  };
  const never = () => new Promise<never>(() => {});
  const keyvs = (broken: Parameters<typeof adapter>[0]) => () =>
    new Keyv({ store: adapter(broken) });

  it.each([
    ['get throws', keyvs({ get: failure })],
    [
      'get throws at once',
      keyvs({
        get: () => {
          throw new Error('down');
        },
      }),
    ],
    ['get and getMany throw', keyvs({ get: failure, getMany: failure })],
    ['get answers a number', keyvs({ get: async () => ({ value: 1 }) })],
    ['get answers an object', keyvs({ get: async () => ({ value: { revoked: true } }) })],
    ['get answers true', keyvs({ get: async () => ({ value: true }) })],
    ['get answers a list', keyvs({ get: async () => ({ value: ['a'] }) })],
    ['get answers what cannot be parsed', keyvs({ get: async () => '{"value":' })],
    ['get hangs', keyvs({ get: never })],
  ])('reading: %s', async (_, make) => {
    const store = storeOver(make());
    expect(await outcome(store.read(['p:a']))).toMatch(/rejects|hangs/);
    expect(await outcome(store.read(['p:a', 'p:b', 'p:c']))).toMatch(/rejects|hangs/);
    expect(await outcome(store.writeIfAbsent('p:a', 'x', 100))).toBe('rejects');
    expect(await outcome(store.writeIfUnchanged('p:a', undefined, 'x', 100))).toBe('rejects');
  });

  it('reading many: one of them fails', async () => {
    const get = async (key: string) => {
      if (key.includes('b')) throw new Error('down');
      return undefined;
    };
    const store = storeOver(new Keyv({ store: adapter({ get }) }));
    expect(await outcome(store.read(['p:a', 'p:b', 'p:c']))).toBe('rejects');
    expect(await outcome(store.read(['p:a', 'p:c']))).toEqual([undefined, undefined]);
  });

  it('reading many: an answer of the wrong length changes nothing', async () => {
    const getMany = async () => [];
    const store = storeOver(new Keyv({ store: adapter({ getMany }) }));
    await store.write('p:a', 'one', 1_000);
    expect(await store.read(['p:a', 'p:b'])).toEqual(['one', undefined]);
  });

  it.each([
    ['set throws', keyvs({ set: failure })],
    ['set answers false', keyvs({ set: async () => false })],
    ['set hangs', keyvs({ set: never })],
  ])('writing: %s', async (_, make) => {
    const store = storeOver(make());
    expect(await outcome(store.write('p:a', 'x', 100))).toMatch(/rejects|hangs/);
    expect(await outcome(store.writeIfAbsent('p:a', 'x', 100))).toBe('rejects');
    expect(await outcome(store.writeIfUnchanged('p:a', undefined, 'x', 100))).toBe('rejects');
  });

  it('an exchange that hangs gives way to the next one of its key, and to other keys at once', async () => {
    let hangs = true;
    const entries = new Map<string, unknown>();
    const get = (key: string) => (hangs && key.includes('a') ? never() : entries.get(key));
    const set = async (key: string, value: unknown) => void entries.set(key, value);
    const store = storeOver(new Keyv({ store: adapter({ get, set }) }));
    const stuck = outcome(store.writeIfAbsent('p:a', 'x', 100));
    expect(await store.writeIfAbsent('p:b', 'y', 100)).toBeUndefined();
    hangs = false;
    expect(await stuck).toBe('rejects');
    expect(await store.writeIfAbsent('p:a', 'z', 100)).toBeUndefined();
  });

  it('the deny list answers 503 then, and never "not revoked"', async () => {
    const options = {} as { get?: unknown };
    const broken = adapter();
    const store = storeOver(new Keyv({ store: broken }));
    const { tokens } = assembled({}, { store, deadline: DEADLINE });
    const issued = await tokens.issue('alice');
    await tokens.revoke(issued.claims);
    options.get = broken.get;
    for (const get of [failure, never, async () => ({ value: 5 })]) {
      broken.get = get as never;
      expect(await ending(tokens.verify(issued.accessToken))).toBe('DENY_LIST_UNAVAILABLE');
      broken.get = options.get as never;
      expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
    }
  });
});

describe('what somebody else has put under a key is never taken for "not found"', () => {
  const ENTRIES: [string, unknown][] = [
    ['a text that is no JSON', 'a secret'],
    ['JSON without the envelope of Keyv', '"a secret"'],
    ['JSON of another object', '{"name":"a secret"}'],
    ['an object', { name: 'a secret' }],
    ['a list', ['a secret']],
    ['a number', 5],
    ['an envelope around something else', { value: { name: 'a secret' } }],
    ['an envelope around nothing', { value: null }],
  ];
  it.each(ENTRIES)('%s', async (_, entry) => {
    const store = storeOver(new Keyv({ store: adapter({ get: async () => entry }) }));
    for (const ask of [
      () => store.read(['a']),
      () => store.writeIfAbsent('a', 'x', 1_000),
      () => store.writeIfUnchanged('a', undefined, 'x', 1_000),
    ]) {
      const error = await ask().then(String, (cause: unknown) => cause);
      expect(error).toBeInstanceOf(StoreAnswerError);
      expect(String(error)).not.toContain('secret');
    }
  });
});

describe('a cache that could lose entries stops the boot', () => {
  const bootError = (cache: unknown, prefix = 'p:') => {
    let message: string | undefined;
    try {
      createStore({ cache: cache as never, prefix, lookupTimeout: DEADLINE });
    } catch (error) {
      expect(error).toBeInstanceOf(JwtStateConfigError);
      message = (error as Error).message;
    }
    expect(message).toBeDefined();
    return message as string;
  };

  it('several tiers', () => {
    const tiers = createCache({ stores: [new Keyv(), new Keyv()] });
    expect(bootError(tiers)).toContain('exactly one');
  });

  it('no store', () => {
    expect(bootError({ stores: [] })).toContain('0 stores');
  });

  it.each([
    [{}],
    [5],
    ['redis://localhost'],
    [() => {}],
    [new Keyv()],
    [new Map()],
    [{ stores: 'x' }],
    [{ stores: [5] }],
    [{ stores: [null] }],
    [{ stores: [new Map()] }],
    [{ stores: [{}] }],
  ])('what is not a cache: %p', (cache) => {
    bootError(cache);
  });

  it('lruSize', () => {
    const lru = createCache({ stores: [createKeyv({ lruSize: 1_000 })] });
    expect(bootError(lru)).toContain('lruSize');
  });

  it('maxTtl', () => {
    const capped = createCache({ stores: [createKeyv({ maxTtl: '1h' } as never)] });
    expect(bootError(capped)).toContain('maxTtl');
    const adapterWith = new Keyv({ store: adapter({ opts: { maxTtl: 1_000 } }) });
    expect(bootError(createCache({ stores: [adapterWith] }))).toContain('maxTtl');
  });

  it('connectionTimeout', () => {
    const redis = new KeyvRedis('redis://127.0.0.1:1', { connectionTimeout: 500 });
    expect(bootError(createCache({ stores: [new Keyv(redis)] }))).toContain('connectionTimeout');
  });

  it('a prefix that begins with the namespace of the store', () => {
    const cache = () => createCache({ stores: [new Keyv({ namespace: 'p' })] });
    expect(bootError(cache())).toContain('namespace');
    expect(bootError(cache(), 'p:tokens:')).toContain('namespace');
    createStore({ cache: cache(), prefix: 'pp:', lookupTimeout: DEADLINE });
  });

  it('and all others do not', () => {
    const redis = new KeyvRedis('redis://127.0.0.1:1');
    expect(storeOver(new Keyv(redis))).toBeInstanceOf(RedisStore);
    expect(storeOver(new Keyv())).toBeInstanceOf(KeyvStore);
    expect(storeOver(createKeyv({ lruSize: 0 }))).toBeInstanceOf(KeyvStore);
  });
});

describe('how far a store reaches', () => {
  it.each([
    ['the default cache', createMemoryCache().stores[0], true],
    ['a Map', new Keyv(), true],
    ['an adapter', new Keyv({ store: adapter() }), false],
  ])('%s', (_, keyv, ephemeral) => {
    expect(storeOver(keyv as Keyv)).toMatchObject({ atomic: 'process', ephemeral });
  });

  it('Redis', () => {
    const redis = new Keyv(new KeyvRedis('redis://127.0.0.1:1'));
    expect(storeOver(redis)).toMatchObject({ atomic: 'store', ephemeral: false });
  });

  it('is passed on by its bounds', () => {
    const bounded = boundedOver(storeOver(new Keyv()));
    expect(bounded.store).toMatchObject({ atomic: 'process', ephemeral: true });
    expect(bounded.store).toMatchObject({ isOrdered: false, neverShortens: false });
    const memory = boundedOver(storeOver(createMemoryCache().stores[0] as Keyv));
    expect(memory.store).toMatchObject({ isOrdered: true, neverShortens: true });
  });
});

// --- deadline and breaker ---------------------------------------------------------------------

function boundedOver(inner: DenyListStore, clock = new FakeClock()) {
  const events: string[] = [];
  const listener = {
    down: () => void events.push('down'),
    up: () => void events.push('up'),
    refused: () => void events.push('refused'),
  };
  return { store: new BoundedStore(inner, DEADLINE, clock, listener), clock, events };
}

describe('a store with bounds', () => {
  function failing() {
    const clock = new FakeClock();
    const inner = new MemoryStore(clock);
    return { inner, ...boundedOver(inner, clock) };
  }
  const fail = (inner: MemoryStore) => {
    inner.onOperation = () => 'lost';
  };
  const recover = (inner: MemoryStore) => {
    inner.onOperation = () => undefined;
  };

  it('passes everything on while all is well', async () => {
    const { store, events } = failing();
    await store.write('a', 'one', 1_000);
    expect(await store.writeIfAbsent('a', 'x', 1_000)).toBe('one');
    expect(await store.writeIfUnchanged('a', 'one', 'two', 1_000)).toMatchObject({ written: true });
    expect(await store.read(['a', 'b'])).toEqual(['two', undefined]);
    expect(events).toEqual([]);
  });

  it('has one kind of error, for all its verbs, with the cause', async () => {
    const { store, inner } = failing();
    fail(inner);
    for (const call of [
      () => store.read(['a']),
      () => store.write('a', 'x', 1),
      () => store.writeIfAbsent('a', 'x', 1),
      () => store.writeIfUnchanged('a', undefined, 'x', 1),
    ]) {
      const error = await (async () => call())().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(DenyListUnavailableError);
    }
  });

  it('also when the store under it throws instead of rejecting', async () => {
    const { store } = boundedOver({
      read: () => {
        throw new Error('no connection');
      },
    } as never);
    await expect(store.read(['a'])).rejects.toBeInstanceOf(DenyListUnavailableError);
  });

  it('does not wait longer than its deadline', async () => {
    const { store, inner } = failing();
    inner.onOperation = () => 'hangs';
    const started = performance.now();
    await expect(store.read(['a'])).rejects.toBeInstanceOf(DenyListUnavailableError);
    const took = performance.now() - started;
    expect(took).toBeGreaterThanOrEqual(DEADLINE - 2);
    expect(took).toBeLessThan(DEADLINE + 100);
  });

  it('leaves no timer behind an answer', async () => {
    const clear = jest.spyOn(globalThis, 'clearTimeout');
    const { store } = failing();
    await store.read(['a']);
    expect(clear).toHaveBeenCalled();
    clear.mockRestore();
  });

  it('leaves the store alone after three failures in a row', async () => {
    const { store, inner, events } = failing();
    fail(inner);
    for (let call = 1; call <= 10; call++) {
      expect(await ending(store.read(['a']))).toBe('DENY_LIST_UNAVAILABLE');
      expect(inner.operations).toHaveLength(Math.min(call, 3));
    }
    expect(events).toEqual(['down']);
  });

  it('two failures, a success and two failures are no outage', async () => {
    const { store, inner, events } = failing();
    for (const fails of [true, true, false, true, true, false]) {
      if (fails) fail(inner);
      else recover(inner);
      expect(await ending(store.read(['a']))).toBe(fails ? 'DENY_LIST_UNAVAILABLE' : 'ok');
    }
    expect(inner.operations).toHaveLength(6);
    expect(events).toEqual([]);
  });

  async function broken() {
    const all = failing();
    fail(all.inner);
    for (let call = 0; call < 3; call++) await ending(all.store.read(['a']));
    const before = all.inner.operations.length;
    return { ...all, asked: () => all.inner.operations.length - before };
  }

  it.each([
    [999, 0],
    [1_000, 1],
    [1_001, 1],
  ])('after %p ms lets %p calls try', async (elapsed, tries) => {
    const { store, clock, asked } = await broken();
    clock.advance(elapsed);
    const calls: Promise<string>[] = [];
    for (let call = 0; call < 20; call++) {
      calls.push(ending(store.read(['a'])));
      await null;
    }
    await Promise.all(calls);
    expect(asked()).toBe(tries);
  });

  it('lets two calls try that are made in one breath: some questions are two', async () => {
    const { store, inner, clock, asked } = await broken();
    recover(inner);
    clock.advance(1_000);
    const both = [ending(store.write('a', '1', 1_000)), ending(store.read(['b']))];
    expect(await Promise.all(both)).toEqual(['ok', 'ok']);
    expect(asked()).toBe(2);
  });

  it('a probe that fails keeps the others out for another second, without a second announcement', async () => {
    const { store, clock, asked, events } = await broken();
    for (let second = 1; second <= 5; second++) {
      clock.advance(1_000);
      await ending(store.read(['a']));
      await ending(store.read(['a']));
      expect(asked()).toBe(second);
    }
    expect(events).toEqual(['down']);
  });

  it('a probe that hangs keeps the others out, and they fail at once', async () => {
    const { store, inner, clock } = await broken();
    inner.onOperation = () => 'hangs';
    clock.advance(1_000);
    const probe = ending(store.read(['a']));
    await null;
    const started = performance.now();
    await Promise.all(Array.from({ length: 100 }, () => ending(store.read(['a']))));
    expect(performance.now() - started).toBeLessThan(DEADLINE);
    expect(await probe).toBe('DENY_LIST_UNAVAILABLE');
  });

  it('a probe that succeeds ends the outage for all, which is said once', async () => {
    const { store, inner, clock, events } = await broken();
    recover(inner);
    expect(await ending(store.read(['a']))).toBe('DENY_LIST_UNAVAILABLE');
    clock.advance(1_000);
    for (let call = 0; call < 5; call++) expect(await ending(store.read(['a']))).toBe('ok');
    expect(events).toEqual(['down', 'up']);
    fail(inner);
    for (let call = 0; call < 5; call++) await ending(store.read(['a']));
    expect(events).toEqual(['down', 'up', 'down']);
  });

  it('an answer that is of no use fails its own call only', async () => {
    const { store, inner, events } = failing();
    inner.onOperation = ({ key }) => {
      if (key === 'bad') throw new StoreAnswerError('a value of another kind');
      return undefined;
    };
    for (let call = 0; call < 10; call++) {
      expect(await ending(store.read(['bad']))).toBe('DENY_LIST_UNAVAILABLE');
      expect(await ending(store.read(['good']))).toBe('ok');
    }
    for (let call = 0; call < 10; call++) await ending(store.read(['bad']));
    expect(await ending(store.read(['good']))).toBe('ok');
    expect(new Set(events)).toEqual(new Set(['refused']));
  });

  it('many calls that fail together are one outage', async () => {
    const { store, inner, events } = failing();
    inner.onOperation = () => 'hangs';
    await Promise.all(Array.from({ length: 50 }, () => ending(store.read(['a']))));
    expect(events).toEqual(['down']);
  });

  it('a clock that is set back does not keep the store out', async () => {
    const { store, inner, clock } = await broken();
    recover(inner);
    clock.advance(-3_600_000);
    await ending(store.read(['a']));
    clock.advance(1_001);
    await ending(store.read(['a']));
    clock.advance(1_001);
    expect(await ending(store.read(['a']))).toBe('ok');
  });

  it('an answer that is there already counts, however busy the process was', async () => {
    const { port1, port2 } = new MessageChannel();
    const { store } = boundedOver({
      read: () =>
        new Promise((resolve) => {
          port2.once('message', resolve);
          port1.postMessage(['answer']);
        }),
    } as never);
    const answer = store.read(['a']);
    const until = performance.now() + 3 * DEADLINE;
    while (performance.now() < until);
    expect(await answer).toEqual(['answer']);
    port1.close();
  });
});

describe('RedisStore and the client of its owner', () => {
  it('connects a client that never was, and leaves one closed that its owner has closed', async () => {
    let connected = 0;
    const client = { isOpen: false, get: async () => null, mGet: async () => [null] };
    const adapter = {
      client,
      getClient: async () => {
        connected += 1;
        client.isOpen = true;
        return client;
      },
      createKeyPrefix: (key: string) => key,
      isCluster: () => false,
    };
    const store = new RedisStore(adapter as unknown as KeyvRedisAdapter);
    expect(await store.read(['a'])).toEqual([undefined]);
    expect(connected).toBe(1);
    client.isOpen = false;
    await expect(store.read(['a'])).rejects.toThrow(/closed/);
    expect(connected).toBe(1);
  });
});
