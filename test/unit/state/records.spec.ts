import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { formatHistory, parseHistory } from '../../../lib/session/history.js';
import {
  formatGeneration,
  type Generation,
  parseGeneration,
} from '../../../lib/state/generations.js';
import {
  formatScopeState,
  parseScopeState,
  UnreadableRecordError,
} from '../../../lib/state/scope-state.js';
import { formatSessionState, parseSessionState } from '../../../lib/state/session-state.js';
import { formatStoreState, parseStoreState } from '../../../lib/state/store-state.js';

const T = 1_800_000_000_000;
const id = fc.stringMatching(/^[A-Za-z0-9_-]{22}$/);
const time = fc.integer({ min: T, max: T + 1e9 });
const deadlines = fc
  .dictionary(id, time, { maxKeys: 3 })
  .map((entries) => new Map(Object.entries(entries)));
const mark = fc.record({ id, deadlines });
const generations = fc
  .uniqueArray(fc.integer({ min: 1, max: 1e9 }), { maxLength: 6 })
  .chain((numbers) =>
    fc.tuple(
      fc.constant(numbers.sort((a, b) => a - b)),
      fc.array(time, { minLength: 6 }),
      fc.boolean(),
    ),
  )
  .map(([numbers, times, lastArrived]) =>
    numbers.map((n, index) => ({
      n,
      at: times[index] as number,
      arrived: index < numbers.length - 1 || lastArrived,
    })),
  );

describe('The record of a session', () => {
  const state = fc
    .record({
      generations,
      stale: fc.option(mark, { nil: undefined }),
      left: fc.uniqueArray(id, { maxLength: 2 }),
    })
    .filter(({ generations, stale, left }) => generations.length + left.length > 0 || !!stale);

  it('is read as it was written', () => {
    fc.assert(
      fc.property(state, (given) => {
        const written = formatSessionState({ isRevoked: false, ...given });
        expect(parseSessionState(written)).toEqual({ isRevoked: false, ...given });
      }),
    );
  });

  it('says nothing where nothing stands', () => {
    expect(parseSessionState(undefined)).toEqual({
      isRevoked: false,
      generations: [],
      stale: undefined,
      left: [],
    });
  });

  it('is one integer that fits into 64 bits where it holds one generation that has arrived', () => {
    expect(formatGeneration({ n: 7, at: T, arrived: true })).toBe(`7${T}`);
    expect(BigInt(`900000${T}`)).toBeLessThan(2n ** 63n);
  });

  it.each([
    ['0', 'the revocation'],
    ['', 'nothing at all'],
    ['x', 'an unknown field'],
    ['Z1', 'a field of a later version'],
    ['12', 'a number without a time'],
    ['01800000000000', 'generation 0'],
    [`1${T}  2${T}`, 'an empty field'],
    [`2${T} 1${T}`, 'generations in the wrong order'],
    [`1${T} 1${T}`, 'a generation twice'],
    [`+1${T} 2${T}`, 'one that nobody has seen arrive, and a later one'],
    ['S', 'a mark without an id'],
    ['Sa,b', 'a deadline without a time'],
    ['Sa Sb', 'two marks'],
    ['L', 'left, without a scope'],
    ['99999999999999991800000000000', 'a generation beyond what numbers hold'],
  ])('revokes where it cannot be read: %j, %s', (value) => {
    expect(parseSessionState(value).isRevoked).toBe(true);
  });
});

describe('The record of a scope', () => {
  const state = fc.record(
    {
      stale: mark,
      revoked: id,
      others: fc.record({ id, except: fc.option(id, { nil: undefined }) }),
    },
    { requiredKeys: [] },
  );

  it('is read as it was written', () => {
    fc.assert(
      fc.property(state, (given) => {
        const written = formatScopeState(given);
        if (written !== '') expect(parseScopeState(written)).toEqual(given);
      }),
    );
  });

  it.each(['', 'x', 'Ra Rb', 'R', 'O', 'O,a', 'Sa Sb', 'Sa,=1', 'Ra  Sb'])(
    'is an error where it cannot be read: %j',
    (value) => {
      expect(() => parseScopeState(value)).toThrow(UnreadableRecordError);
    },
  );
});

describe('The record of the store', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(id, fc.nat(), fc.option(id, { nil: undefined }), (epoch, keepFor, revoked) => {
        const given = { epoch, keepFor, everyone: revoked === undefined ? {} : { revoked } };
        expect(parseStoreState(formatStoreState(given))).toEqual(given);
      }),
    );
  });

  it.each(['', 'epoch', 'epoch x', 'epoch -1', ' 1', 'epoch 1 x'])(
    'is an error where it cannot be read: %j',
    (value) => {
      expect(() => parseStoreState(value)).toThrow(UnreadableRecordError);
    },
  );
});

describe('The history of a session', () => {
  it('is read as it was written', () => {
    const jwt = fc.stringMatching(/^[A-Za-z0-9_.-]{1,50}$/);
    const uses = generations.map((list) => list.map((entry) => ({ ...entry, arrived: true })));
    fc.assert(
      fc.property(uses, fc.option(jwt, { nil: undefined }), (list, sealedChoices) => {
        const written = formatHistory({ uses: list, sealedChoices });
        if (written !== '') expect(parseHistory(written)).toEqual({ uses: list, sealedChoices });
      }),
    );
  });

  it.each(['', 'x', '0'])('counts as absent where it cannot be read: %j', (value) => {
    expect(parseHistory(value)).toEqual({ uses: [], sealedChoices: undefined });
  });
});

describe('A generation', () => {
  it.each(['', '+', '1', `0${T}`, `-1${T}`, `1${T}x`, `++1${T}`, `1.5${T}`, `1e9${T}`])(
    'is not %j',
    (field) => {
      expect(parseGeneration(field)).toBeUndefined();
    },
  );

  it.each<Generation>([
    { n: 1, at: 0, arrived: true },
    { n: 12, at: T, arrived: false },
  ])('is read as it was written: %j', (generation) => {
    expect(parseGeneration(formatGeneration(generation))).toEqual(generation);
  });
});
