import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { build } from 'esbuild';
import fc from 'fast-check';
import { aheadOfExpiry } from '../../lib/client/ahead-of-expiry.js';
import { readClaims } from '../../lib/client/claims.js';
import { newest, type Session, sidOf } from '../../lib/client/session.js';
import { encode } from '../support/forge.js';

const SOURCES = new URL('../../lib/client/', import.meta.url);
const LIMIT = 5 * 1_024;

const tokenWith = (payload: unknown) => `e30.${encode(JSON.stringify(payload))}.c2ln`;
const token = (sid: string, jti: number) =>
  tokenWith({ sid, jti: `01a21211-007a-7${String(jti).padStart(3, '0')}`, seen: {} });

describe('The newest of two sessions', () => {
  /** As clients make them: what comes with a token is a matter of the token. */
  const sessions = fc
    .record({
      turn: fc.integer({ min: 0, max: 2 }),
      sid: fc.constantFrom('a', 'b'),
      access: fc.integer({ min: 0, max: 5 }),
      refresh: fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined }),
      kind: fc.constantFrom('signed in', 'in a cookie', 'out', 'from before'),
    })
    .map(({ turn, sid, access, refresh, kind }): Session => {
      if (kind === 'out') return { turn, at: 0, out: 'SIGNED_OUT' };
      if (kind === 'in a cookie') return { turn, at: access + 1, life: 900 };
      if (kind === 'from before') return { turn, access: tokenWith({ sub: 'alice' }), at: 1 };
      return {
        turn,
        access: token(sid, access),
        at: access,
        refresh: refresh === undefined ? undefined : token(sid, refresh),
      };
    });
  /** One client has its tokens in a cookie, or it has them itself. */
  const alike = fc
    .tuple(sessions, sessions, sessions)
    .filter((all) => new Set(all.filter(({ out }) => !out).map((one) => !one.access)).size < 2);
  const jti = (text: string | undefined) => readClaims(text)?.jti ?? '';

  it('is the same for all who hold them, in whatever order they meet', () => {
    fc.assert(
      fc.property(alike, ([one, two, three]) => {
        expect(newest(one, one)).toEqual(one);
        expect(newest(one, two)).toEqual(newest(two, one));
        expect(newest(newest(one, two), three)).toEqual(newest(one, newest(two, three)));
      }),
      { numRuns: 500 },
    );
  });

  it('never goes back: not to a former turn, nor to an older token of a session', () => {
    fc.assert(
      fc.property(alike, ([held, other]) => {
        const result = newest(held, other);
        expect(result.turn).toBe(Math.max(held.turn, other.turn));
        for (const former of [held, other]) {
          if (former.turn !== result.turn || sidOf(former) !== sidOf(result)) continue;
          expect(jti(result.access) >= jti(former.access)).toBe(true);
          expect(jti(result.refresh) >= jti(former.refresh)).toBe(true);
          expect(result.at).toBeGreaterThanOrEqual(former.at);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('keeps each token for itself: the access token of one, the refresh token of the other', () => {
    const one = { turn: 1, at: 5, access: token('a', 5), refresh: token('a', 1) };
    const two = { turn: 1, at: 4, access: token('a', 4), refresh: token('a', 2) };
    expect(newest(one, two)).toEqual({ ...one, refresh: two.refresh });
  });

  it('never mixes two sessions', () => {
    const one = { turn: 1, at: 5, access: token('a', 5), refresh: token('a', 5) };
    const two = { turn: 1, at: 4, access: token('b', 4) };
    expect(newest(one, two)).toBe(two);
    expect(newest({ ...one, turn: 2 }, two)).toEqual({ ...one, turn: 2 });
  });

  it('is the one that is held, where the other is anything at all', () => {
    const held = { turn: 1, at: 5, access: token('a', 5) };
    fc.assert(
      fc.property(fc.anything(), (other) => {
        const turn = (other as Session | null | undefined)?.turn;
        fc.pre(!Number.isSafeInteger(turn));
        expect(newest(held, other as Session)).toBe(held);
      }),
    );
  });
});

describe('What a client reads in a token', () => {
  it('is any JSON, in any script', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()), (claims) => {
        const text = JSON.stringify(claims);
        expect(readClaims(`e30.${encode(text)}.c2ln`)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('is nothing where there is no token, and never an error', () => {
    const junk = fc.oneof(
      fc.anything(),
      fc.tuple(fc.base64String(), fc.base64String(), fc.base64String()).map((all) => all.join('.')),
    );
    fc.assert(
      fc.property(junk, (text) => {
        const claims = readClaims(text);
        expect(claims === undefined || typeof claims === 'object').toBe(true);
      }),
    );
    for (const text of [undefined, '', 'a', 'a.b', 'a.e30.c.d', 'a.e30.c, a.e30.c', 'a.e3.c']) {
      expect(readClaims(text)).toBeUndefined();
    }
  });
});

describe('The plan to replace a token ahead of its expiry', () => {
  let renewals: number[];
  let outcomes: boolean[];
  const MINUTES = 60_000;

  beforeEach(() => {
    jest.useFakeTimers();
    renewals = [];
    outcomes = [];
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  const start = () =>
    aheadOfExpiry(async () => {
      renewals.push(Date.now());
      return outcomes.shift() ?? false;
    });
  /** When, in minutes from now, the renewals are that happen within a time. */
  async function within(minutes: number): Promise<number[]> {
    const began = Date.now();
    await jest.advanceTimersByTimeAsync(minutes * MINUTES);
    return renewals.splice(0).map((time) => (time - began) / MINUTES);
  }
  const now = (life: number): Session => ({ turn: 1, at: Date.now(), life });

  it('is between 75 and 90 percent of its life, and not the same each time', async () => {
    const times = new Set<number>();
    for (let round = 0; round < 20; round++) {
      start().plan(now(15 * 60));
      const [time = 0, ...others] = await within(60);
      expect(others).toEqual([]);
      expect(time).toBeGreaterThanOrEqual(0.75 * 15);
      expect(time).toBeLessThanOrEqual(0.9 * 15);
      times.add(time);
    }
    expect(times.size).toBeGreaterThan(10);
  });

  it.each([
    ['years behind', -1e9],
    ['years ahead', 1e9],
  ])('goes by the life of the token, though its clock be %s', async (_, skew) => {
    const iat = Math.floor(Date.now() / 1_000) + skew;
    const access = tokenWith({ iat, exp: iat + 600 });
    start().plan({ turn: 1, at: Date.now(), access });
    const [time] = await within(60);
    expect(time).toBeGreaterThanOrEqual(7.5);
    expect(time).toBeLessThanOrEqual(9);
  });

  it('counts from when the token came, also after a reload', async () => {
    start().plan({ ...now(600), at: Date.now() - 5 * MINUTES });
    const [time] = await within(60);
    expect(time).toBeGreaterThanOrEqual(2.5);
    expect(time).toBeLessThanOrEqual(4);
  });

  it('is soon, where it should have been before', async () => {
    start().plan({ ...now(600), at: Date.now() - 99 * MINUTES });
    expect(await within(1)).toEqual([1 / 60]);
  });

  it('is not put off by a clock that was set back', async () => {
    start().plan({ ...now(600), at: Date.now() + 9_999 * MINUTES });
    const [time] = await within(60);
    expect(time).toBeLessThanOrEqual(9);
  });

  it('is not at once, where timers cannot wait that long', async () => {
    start().plan(now(365 * 24 * 3_600));
    expect(await within(20 * 24 * 60)).toEqual([]);
    expect((await within(5 * 24 * 60)).length).toBe(1);
  });

  it('is never more often than once a second', async () => {
    start().plan(now(0.001));
    expect(await within(0.01)).toEqual([]);
    expect((await within(1)).length).toBe(1);
  });

  it.each([undefined, Number.NaN])('is none for a life of %s', async (life) => {
    start().plan({ turn: 1, at: Date.now(), life });
    expect(await within(60)).toEqual([]);
  });

  it('is tried again after half a minute, and later and later', async () => {
    outcomes = [true, true, true, false];
    start().plan(now(60));
    const [first = 0, ...others] = await within(60);
    expect(others.map((time) => Math.round((time - first) * 60))).toEqual([30, 90, 210]);
  });

  it('is one: the next token replaces it', async () => {
    const ahead = start();
    ahead.plan(now(600));
    await within(5);
    ahead.plan(now(600));
    const [time, ...others] = await within(60);
    expect(time).toBeGreaterThanOrEqual(7.5);
    expect(others).toEqual([]);
  });

  it('is none after close()', async () => {
    const ahead = start();
    ahead.plan(now(600));
    ahead.close();
    ahead.plan(now(600));
    expect(await within(60)).toEqual([]);
  });
});

describe('What a page loads', () => {
  const files = readdirSync(SOURCES);
  const textOf = (name: string) => readFileSync(new URL(name, SOURCES), 'utf8');

  it(`is at most ${LIMIT} bytes, bundled, minified and compressed`, async () => {
    const { outputFiles } = await build({
      entryPoints: [new URL('index.ts', SOURCES).pathname],
      bundle: true,
      minify: true,
      format: 'esm',
      target: 'es2022',
      platform: 'browser',
      write: false,
    });
    const [bundle] = outputFiles;
    expect(gzipSync(bundle?.contents ?? '', { level: 9 }).length).toBeLessThanOrEqual(LIMIT);
  });

  it('is this folder and nothing else: neither Nest nor Node, nor a package', () => {
    expect(files).toContain('index.ts');
    for (const name of files) {
      const text = textOf(name);
      const imported = [...text.matchAll(/(?:from|import|require)\s*\(?\s*['"]([^'"]+)['"]/g)];
      const outside = imported
        .map(([, source]) => source)
        .filter((source) => {
          return !/^\.\/[\w.-]+\.js$/.test(source ?? '');
        });
      // In comments the package names itself.
      expect([name, outside.filter((source) => source !== 'nestjs-jwt-state/client')]).toEqual([
        name,
        [],
      ]);
      expect(text).not.toMatch(/\b(process|Buffer|global|__dirname)\./);
    }
  });

  it('is documented: every option of its own, with no other', () => {
    const guide = readFileSync(new URL('../../docs/17-client.md', import.meta.url), 'utf8');
    const [, table = ''] = /^## Options\n([\s\S]*?)^## /m.exec(guide) ?? [];
    const documented = [...table.matchAll(/^\| *`([\w.]+)`/gm)].map(([, name]) => name);
    expect([...documented].sort()).toEqual(optionsIn(textOf('token-client.options.ts')).sort());
  });

  /** The members of the options, those of the nested ones under their name. */
  function optionsIn(source: string): string[] {
    const members = (name: string) => {
      const [, text = ''] =
        new RegExp(`interface ${name}[^{]*\\{\\n([\\s\\S]*?)^\\}`, 'm').exec(source) ?? [];
      return [...text.matchAll(/^ {2}(\w+)\?:/gm)].map(([, member]) => member as string);
    };
    const nested = new Map([
      ['delivery', 'ClientDeliveryOptions'],
      ['refresh', 'ClientRefreshOptions'],
    ]);
    return members('TokenClientOptions').flatMap((name) => {
      const type = nested.get(name);
      return type ? members(type).map((member) => `${name}.${member}`) : [name];
    });
  }
});
