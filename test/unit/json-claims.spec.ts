import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { JwtStateError, JwtStateModule } from 'nestjs-jwt-state';
import { tokenFor } from 'nestjs-jwt-state/testing';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, KEYS } from '../support/setup.js';

Logger.overrideLogger(false);

const clock = new FakeClock(1_800_000_000_000);
let store: MemoryStore;

beforeEach(() => {
  store = new MemoryStore(clock);
});

type Claims = Record<string, unknown>;

const plain = () => assembled({}, { clock, store });
const answering = (claims: Claims) => assembled({ claims: () => claims }, { clock, store });

/** The message it is refused with. */
async function refusal(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (error instanceof JwtStateError && error.code === 'CLAIMS_INVALID') return error.message;
  throw error ?? new Error('It was issued.');
}

/** Every way in which claims get into a token. */
const ENTRIES: Record<string, (claims: Claims) => Promise<unknown>> = {
  'issue()': (claims) => plain().tokens.issue('alice', claims),
  'begin() and issue()': async (claims) => {
    const { tokens } = plain();
    return tokens.issue(await tokens.begin('alice'), claims);
  },
  'reissue()': async (claims) => {
    const { tokens } = plain();
    const { claims: token } = await tokens.issue('alice');
    return tokens.reissue(token, claims);
  },
  'the claims source, at a log-in': (claims) => answering(claims).tokens.issue('alice'),
  'the claims source, at a refresh': async (claims) => {
    const { accessToken } = await plain().tokens.issue('alice');
    return answering(claims).tokens.refresh(accessToken);
  },
  'the testing kit': async (claims) => {
    const module = await Test.createTestingModule({
      imports: [JwtStateModule.forRoot({ keys: KEYS })],
    }).compile();
    return tokenFor(module, 'alice', claims);
  },
};

class Money {
  #cents = 500;
  currency = 'EUR';
  get amount() {
    return this.#cents / 100;
  }
}
class Hidden {
  #secret = 5;
  reveal() {
    return this.#secret;
  }
}
const cycle: Claims = {};
cycle.again = { cycle };
const withHole = ['a', 'b', 'c'];
delete withHole[1];

/** What `JSON.stringify` turns into something else, or cannot write at all. */
const LOSSY: [string, unknown, string][] = [
  ['a Set', new Set(['admin']), 'claims.value is a Set'],
  ['a Map', new Map([['a', 1]]), 'claims.value is a Map'],
  ['a WeakMap', new WeakMap(), 'claims.value is a WeakMap'],
  ['a promise', Promise.resolve(['admin']), 'claims.value is a Promise'],
  ['a RegExp', /a/, 'claims.value is a RegExp'],
  ['an Error', new Error('x'), 'claims.value is a Error'],
  ['an Error with a code', Object.assign(new TypeError('x'), { code: 5 }), 'is a TypeError'],
  ['bytes', new Uint8Array(4), 'claims.value is a Uint8Array'],
  ['a buffer of bytes', new ArrayBuffer(4), 'claims.value is a ArrayBuffer'],
  ['search parameters', new URLSearchParams('a=1'), 'claims.value is a URLSearchParams'],
  ['NaN', Number.NaN, 'claims.value is NaN'],
  ['Infinity', Number.POSITIVE_INFINITY, 'claims.value is Infinity'],
  ['-Infinity', Number.NEGATIVE_INFINITY, 'claims.value is -Infinity'],
  ['a boxed NaN', Object(Number.NaN), 'claims.value is NaN'],
  ['an invalid Date', new Date('x'), 'claims.value is an invalid Date'],
  ['an invalid date of a library', { toJSON: () => null }, 'has a toJSON() that gives null'],
  ['a BigInt', 1n, 'claims.value is a bigint'],
  ['a boxed BigInt', Object(1n), 'claims.value is a bigint'],
  ['a function', () => 1, 'claims.value is a function'],
  ['a symbol', Symbol('x'), 'claims.value is a symbol'],
  ['undefined in a list', ['a', undefined], 'claims.value[1] is undefined'],
  ['a hole in a list', withHole, 'claims.value[1] is undefined'],
  ['NaN in a list', [[1], [2, Number.NaN]], 'claims.value[1][1] is NaN'],
  ['a Set deep inside', { tags: [1, { of: new Set() }] }, 'claims.value.tags[1].of is a Set'],
  ['a list with more members', /(?<x>a)/.exec('a'), 'is a list that has other members'],
  ['a class with a getter', new Money(), 'claims.value is a Money'],
  ['a class that hides all', new Hidden(), 'claims.value is a Hidden'],
  ['inherited members', Object.create({ plan: 'free' }), 'claims.value is a Object'],
  ['a cycle', cycle, 'claims.value.again.cycle contains itself'],
  ['__proto__', JSON.parse('{"__proto__":{"admin":true}}'), 'claims.value.__proto__ has'],
  ['a name that is no identifier', { 'a b': Number.NaN }, 'claims.value["a b"] is NaN'],
  [
    'a getter that throws',
    {
      get plan() {
        throw new Error('a secret');
      },
    },
    'claims.value.plan cannot be read',
  ],
  [
    'a toJSON that throws',
    {
      toJSON: () => {
        throw new Error('a secret');
      },
    },
    'claims.value cannot be read',
  ],
];

describe('a value that JSON cannot carry', () => {
  it.each(LOSSY)('%s is refused, and its place is named', async (_name, value, message) => {
    const text = await refusal(plain().tokens.issue('alice', { value }));
    expect(text).toContain(message);
    expect(text).not.toContain('secret');
  });

  it.each(Object.entries(ENTRIES))('is refused by %s', async (name, enter) => {
    const root = name === 'reissue()' ? 'changes' : 'claims';
    for (const value of [new Set(['admin']), Number.NaN, [undefined], new Date('x')]) {
      expect(await refusal(enter({ roles: { value } }))).toContain(`${root}.roles.value`);
    }
  });

  it('is refused where it is all there is', async () => {
    for (const claims of [new Set(), new Map(), new Hidden()]) {
      const { tokens } = assembled({ claims: () => claims as never }, { clock, store });
      expect(await refusal(tokens.issue('alice'))).toContain('claims is a');
    }
  });

  it('replaces no token: the one before goes on', async () => {
    const { tokens } = plain();
    const { accessToken, claims } = await tokens.issue('alice');
    await refusal(tokens.reissue(claims, { roles: new Set() }));
    expect((await tokens.verify(accessToken)).jti).toBe(claims.jti);
  });
});

describe('a value that JSON carries', () => {
  class Point {
    constructor(
      readonly x: number,
      readonly y: number,
    ) {}
    distance() {
      return Math.hypot(this.x, this.y);
    }
  }
  const shared = { a: 1 };
  it.each<[string, unknown, unknown]>([
    ['text', 'premium', 'premium'],
    ['text with half a character', '\ud83d', '\ud83d'],
    ['nothing', null, null],
    ['true', true, true],
    ['a negative zero, which is zero', -0, 0],
    ['a large number', 2 ** 60, 2 ** 60],
    ['a date', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['what has a toJSON', { id: { toJSON: () => 'x1' } }, { id: 'x1' }],
    ['a URL', new URL('https://a.example/'), 'https://a.example/'],
    ['boxed text', Object('x'), 'x'],
    ['a class of public members', new Point(1, 2), { x: 1, y: 2 }],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    [
      'a getter of its own',
      {
        get plan() {
          return 'free';
        },
      },
      { plan: 'free' },
    ],
    ['a member without a value, which is left out', { a: undefined, b: 1 }, { b: 1 }],
    ['an object twice', [shared, shared], [shared, shared]],
    [
      'the names of members of every object',
      { constructor: 1, toString: 2 },
      { constructor: 1, toString: 2 },
    ],
    ['an empty object', {}, {}],
    ['an empty list', [], []],
  ])('%s is in the token as it was given', async (_name, value, expected) => {
    const { tokens } = plain();
    const issued = await tokens.issue('alice', { value });
    expect(issued.claims.value).toStrictEqual(expected);
    expect((await tokens.verify(issued.accessToken)).value).toStrictEqual(expected);
  });

  it('tells toJSON its name, as JSON.stringify does', async () => {
    const asked: unknown[] = [];
    const value = { toJSON: (key: unknown) => asked.push(key) };
    await plain().tokens.issue('alice', { one: value, list: [value] });
    expect(asked).toEqual(['one', '0']);
  });

  it('may be a BigInt where the application says how', async () => {
    const prototype = BigInt.prototype as { toJSON?: () => string };
    prototype.toJSON = function () {
      return String(this);
    };
    try {
      const issued = await plain().tokens.issue('alice', { tenant: 2n ** 64n });
      expect(issued.claims.tenant).toBe('18446744073709551616');
    } finally {
      delete prototype.toJSON;
    }
  });
});

describe('claims nested in each other', () => {
  const nested = (levels: number, inner: unknown = 'x') => {
    let value: unknown = inner;
    for (let level = 0; level < levels; level++) value = level % 2 ? [value] : { a: value };
    return value;
  };

  it('are issued up to 64 levels, and work from then on', async () => {
    const { tokens } = assembled({ refresh: { tokens: {} } }, { clock, store });
    // The claims themselves are the first level.
    const first = await tokens.issue('alice', { deep: nested(63) });
    expect((await tokens.verify(first.accessToken)).deep).toEqual(nested(63));
    const second = await tokens.reissue(first.claims, { deeper: nested(63) });
    expect((await tokens.verify(second.accessToken)).deeper).toEqual(nested(63));
    const third = await tokens.refresh(second.refreshToken ?? first.refreshToken ?? '');
    expect((await tokens.verify(third.accessToken)).deeper).toEqual(nested(63));
  });

  it.each([64, 2_000, 100_000])('%p levels deep are refused', async (levels) => {
    for (const enter of [ENTRIES['issue()'], ENTRIES['reissue()']]) {
      expect(
        await refusal(
          (enter as never as (c: Claims) => Promise<unknown>)({ deep: nested(levels) }),
        ),
      ).toContain('levels deep');
    }
  });
});
