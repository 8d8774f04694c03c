import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StateStore, Step } from './state-store.js';

/** One sentence of the store contract, to be run as one test. */
export interface StoreContractCase {
  readonly name: string;
  run(): Promise<void>;
}

/** A store to try, empty, as two processes would have it. */
export interface StoreUnderTest {
  readonly one: StateStore;
  /** Another handle on the same store; for a store within one process, the same. */
  readonly other: StateStore;
  /** Ends both. */
  close?(): Promise<void> | void;
}

const LONG = 60_000;
/** How long a short-lived record lives, in ms: long enough for a busy machine to read it in time. */
const SHORT = 400;

/**
 * What the rules rely on, for anybody who writes a store.
 *
 * @param create an empty store; called once for each case
 * @example
 * ```ts
 * for (const { name, run } of storeContract(async () => openMyStore())) it(name, run);
 * ```
 */
export function storeContract(
  create: () => Promise<StoreUnderTest> | StoreUnderTest,
): StoreContractCase[] {
  return CASES.map(([name, test]) => ({
    name,
    run: async () => {
      const store = await create();
      try {
        await test(store);
      } finally {
        await store.close?.();
      }
    },
  }));
}

const write = (key: string, value: string, ttl = LONG) => ({ key, value, ttl });
const put = (...writes: ReturnType<typeof write>[]): Step => ({ checks: [], writes });

const CASES: readonly (readonly [string, (store: StoreUnderTest) => Promise<void>])[] = [
  [
    'reads nothing where nothing was written',
    async ({ one }) => {
      deepStrictEqual(await one.read(['a', 'b']), [undefined, undefined]);
      deepStrictEqual(await one.read([]), []);
    },
  ],
  [
    'reads values in the order in which they were asked for, each as often as it was',
    async ({ one, other }) => {
      strictEqual(await one.commit(put(write('a', '1'), write('b', '2'))), undefined);
      deepStrictEqual(await other.read(['b', 'x', 'a', 'b']), ['2', undefined, '1', '2']);
    },
  ],
  [
    'keeps values as they were written',
    async ({ one, other }) => {
      const values = [
        '0',
        '11800000000000',
        '+11800000000000',
        ' ',
        'S- _,a=1 L',
        'x'.repeat(9_000),
      ];
      for (const [index, value] of values.entries()) {
        strictEqual(await one.commit(put(write(`k${index}`, value))), undefined);
      }
      deepStrictEqual(await other.read(values.map((_, index) => `k${index}`)), values);
    },
  ],
  [
    'writes where every check holds',
    async ({ one, other }) => {
      await one.commit(put(write('a', '1')));
      const step: Step = {
        checks: [
          { key: 'a', expected: '1' },
          { key: 'b', expected: undefined },
        ],
        writes: [write('a', '2'), write('b', '3')],
      };
      strictEqual(await other.commit(step), undefined);
      deepStrictEqual(await one.read(['a', 'b']), ['2', '3']);
    },
  ],
  [
    'writes nothing where one check fails, and answers what stands under every checked key',
    async ({ one, other }) => {
      await one.commit(put(write('a', '1'), write('b', '2')));
      const step: Step = {
        checks: [
          { key: 'c', expected: undefined },
          { key: 'b', expected: '2' },
          { key: 'a', expected: 'another' },
        ],
        writes: [write('a', '8'), write('c', '9')],
      };
      deepStrictEqual(await other.commit(step), [undefined, '2', '1']);
      deepStrictEqual(await one.read(['a', 'b', 'c']), ['1', '2', undefined]);
    },
  ],
  [
    'does not take "nothing stands there" for a value, nor a value for nothing',
    async ({ one }) => {
      const absent: Step = {
        checks: [{ key: 'a', expected: '' }],
        writes: [write('a', '1')],
      };
      deepStrictEqual(await one.commit(absent), [undefined]);
      await one.commit(put(write('a', '1')));
      const present: Step = {
        checks: [{ key: 'a', expected: undefined }],
        writes: [write('a', '2')],
      };
      deepStrictEqual(await one.commit(present), ['1']);
    },
  ],
  [
    'takes a step that only checks',
    async ({ one }) => {
      await one.commit(put(write('a', '1')));
      strictEqual(
        await one.commit({ checks: [{ key: 'a', expected: '1' }], writes: [] }),
        undefined,
      );
      deepStrictEqual(await one.commit({ checks: [{ key: 'a', expected: '2' }], writes: [] }), [
        '1',
      ]);
    },
  ],
  [
    'does the same step once, however often it is sent',
    async ({ one, other }) => {
      const step: Step = {
        checks: [{ key: 'a', expected: undefined }],
        writes: [write('a', '1')],
      };
      strictEqual(await one.commit(step), undefined);
      deepStrictEqual(await other.commit(step), ['1']);
    },
  ],
  [
    'forgets a record when its time is over',
    async ({ one, other }) => {
      await one.commit(put(write('a', '1', SHORT), write('b', '2')));
      deepStrictEqual(await other.read(['a']), ['1']);
      await sleep(SHORT * 2);
      deepStrictEqual(await other.read(['a', 'b']), [undefined, '2']);
      const again: Step = {
        checks: [{ key: 'a', expected: undefined }],
        writes: [write('a', '3')],
      };
      strictEqual(await other.commit(again), undefined);
    },
  ],
  [
    'keeps the later end of a record that is written again',
    async ({ one, other }) => {
      await one.commit(put(write('a', '1')));
      await other.commit(put(write('a', '2', SHORT)));
      await sleep(SHORT * 2);
      deepStrictEqual(await one.read(['a']), ['2']);
    },
  ],
  [
    'gives a record a later end',
    async ({ one, other }) => {
      await one.commit(put(write('a', '1', SHORT)));
      await other.commit(put(write('a', '2')));
      await sleep(SHORT * 2);
      deepStrictEqual(await one.read(['a']), ['2']);
    },
  ],
  [
    'keeps a record for ever that was written without an end',
    async ({ one, other }) => {
      await one.commit(put(write('a', '1', SHORT)));
      await other.commit({ checks: [], writes: [{ key: 'a', value: '2' }] });
      await sleep(SHORT * 2);
      deepStrictEqual(await one.read(['a']), ['2']);
    },
  ],
  [
    'lets one of many win, in parallel and from both sides',
    async ({ one, other }) => {
      const racers = Array.from({ length: 40 }, (_, index) =>
        (index % 2 ? one : other).commit({
          checks: [{ key: 'a', expected: undefined }],
          writes: [write('a', String(index)), write('b', String(index))],
        }),
      );
      const answers = await Promise.all(racers);
      const winners = answers.flatMap((answer, index) => (answer === undefined ? [index] : []));
      strictEqual(winners.length, 1);
      const value = String(winners[0]);
      deepStrictEqual(await one.read(['a', 'b']), [value, value]);
      ok(answers.every((answer) => answer === undefined || answer[0] === value));
    },
  ],
  [
    'loses no step among many that begin anew when they met another',
    async ({ one, other }) => {
      const count = async (store: StateStore) => {
        for (let expected: string | undefined; ; ) {
          const value = String(Number(expected ?? 0) + 1);
          const standing = await store.commit({
            checks: [{ key: 'n', expected }],
            writes: [write('n', value)],
          });
          if (standing === undefined) return;
          expected = standing[0];
        }
      };
      await Promise.all(Array.from({ length: 30 }, (_, index) => count(index % 2 ? one : other)));
      deepStrictEqual(await one.read(['n']), ['30']);
    },
  ],
  [
    'finishes steps that name the same keys in another order',
    async ({ one, other }) => {
      const steps = Array.from({ length: 30 }, (_, index) => {
        const keys = index % 2 ? ['a', 'b'] : ['b', 'a'];
        const store = index % 2 ? one : other;
        const [checked = '', written = ''] = keys;
        return store.commit({
          checks: [{ key: checked, expected: undefined }],
          writes: [write(written, String(index))],
        });
      });
      await Promise.all(steps);
    },
  ],
  [
    'shows a process what it has just written, in its near copy as well',
    async ({ one }) => {
      for (let n = 0; n < 20; n++) {
        await one.commit(put(write('a', String(n))));
        deepStrictEqual(await one.read(['a']), [String(n)]);
        const near = one.near?.recall(['a']);
        ok(near === undefined || near[0] === String(n));
        if (one.near) deepStrictEqual(await one.near.complete(['a']), [String(n)]);
      }
    },
  ],
  [
    'hears in its near copy of what another process writes',
    async ({ one, other }) => {
      if (!one.near) return;
      deepStrictEqual(await one.near.complete(['a']), [undefined]);
      await other.commit(put(write('a', '1')));
      for (let wait = 0; wait < 100; wait++) {
        if ((await one.near.complete(['a']))[0] === '1') return;
        await sleep(20);
      }
      throw new Error('The near copy has heard of nothing for two seconds.');
    },
  ],
  [
    'has another version whenever a value that its near copy gave out has changed',
    async ({ one, other }) => {
      if (one.version === undefined || !one.near) return;
      await one.near.complete(['a']);
      one.near.recall(['a']);
      const before = one.version;
      await other.commit(put(write('a', '1')));
      for (let wait = 0; wait < 100 && one.version === before; wait++) await sleep(20);
      ok(one.version !== before);
    },
  ],
];
