import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BoundedStore } from '../../lib/deny-list/bounded.store.js';
import { type Assembly, assemble } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import { createKeys } from '../../lib/keys/create-keys.js';
import { FakeClock } from '../support/fake-clock.js';
import { forge } from '../support/forge.js';
import { MemoryStore } from '../support/memory-store.js';
import { ending, KEYS } from '../support/setup.js';

const SECOND = 1_000;
const ISSUER = 'https://idp.example';
const idp = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const UUIDV8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

type Claims = Record<string, unknown>;

const silent = { down: () => {}, up: () => {}, refused: () => {} };

/** A service that takes tokens of both kinds, as one process runs it. */
async function service(
  options: Partial<JwtStateOptions> = {},
  { clock = new FakeClock(), store = new MemoryStore(clock) } = {},
): Promise<Assembly & { clock: FakeClock; store: MemoryStore }> {
  const config = resolveOptions({
    keys: KEYS,
    claims: () => ({ plan: 'free' }),
    legacy: { expiresIn: '1h' },
    foreignIssuers: [
      {
        issuer: ISSUER,
        audience: 'api',
        keys: { algorithm: 'ES256', publicKey: idp.publicKey, kid: 'idp' },
        expiresIn: '1h',
      },
    ],
    ...options,
  });
  const keys = await createKeys(config, clock);
  const bounded = new BoundedStore(store, SECOND, clock, silent);
  return { ...assemble({ config, keys, store: bounded, clock }), clock, store };
}

/** `exp` is an hour after `iat`, unless it is given; `undefined` leaves out. */
const withTimes = (claims: Claims, clock: FakeClock): Claims => {
  const iat = Math.floor(clock.time / SECOND);
  const times = { iat, exp: ((claims.iat as number | undefined) ?? iat) + 3600 };
  return { sub: 'alice', ...times, ...claims };
};

const KINDS = {
  legacy: (claims: Claims, clock: FakeClock) =>
    forge({
      header: { typ: 'JWT' },
      key: KEYS.secret,
      payload: withTimes(claims, clock),
    }),
  foreign: (claims: Claims, clock: FakeClock) =>
    forge({
      header: { typ: 'JWT', kid: 'idp' },
      algorithm: 'ES256',
      key: idp.privateKey,
      payload: withTimes({ iss: ISSUER, aud: 'api', jti: 'T1', ...claims }, clock),
    }),
};

describe.each(Object.entries(KINDS))('a %s token', (kind, make) => {
  it('is verified as what it is, and its origin is told', async () => {
    const { tokens, clock } = await service();
    const token = await tokens.verify(make({ role: 'admin' }, clock));
    expect(token).toMatchObject({ sub: 'alice', role: 'admin', seen: { epoch: '', origin: kind } });
  });

  it('has the ids of its claims, however often it comes, and no others of its own choosing', async () => {
    const { tokens, clock } = await service();
    const text = make({ sid: 'S1' }, clock);
    const token = await tokens.verify(text);
    expect([token.sid, token.jti]).toEqual([
      expect.stringMatching(UUIDV8),
      expect.stringMatching(UUIDV8),
    ]);
    expect(await (await service()).tokens.verify(text)).toEqual(token);
  });

  it('has the same ids when its signature is written another way', async () => {
    const { tokens, clock } = await service();
    const text = make({ jti: 'T1' }, clock);
    // An ES256 signature is another each time.
    const again = make({ jti: 'T1' }, clock);
    expect((await tokens.verify(again)).jti).toBe((await tokens.verify(text)).jti);
  });

  it('nested deeper than any of ours is refused, and asks nobody whose it is', async () => {
    let asked = 0;
    const subject = () => {
      asked += 1;
      return 'alice';
    };
    const { tokens, clock } = await service({ legacy: { subject } });
    const nested = (levels: number) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);
    expect(await ending(tokens.verify(make({ deep: nested(63) }, clock)))).toBe('ok');
    asked = 0;
    for (const levels of [64, 2_000]) {
      const text = make({ deep: nested(levels) }, clock);
      expect(await ending(tokens.verify(text))).toBe('TOKEN_INVALID');
    }
    expect(asked).toBe(0);
  });

  it('has other ids than any other token', async () => {
    const { tokens, clock } = await service();
    const claims = [{}, { jti: 'T2' }, { jti: 'T2', sid: 'T2' }, { jti: 'T3', sid: 'T2' }];
    const verified = [];
    for (const each of claims) verified.push(await tokens.verify(make(each, clock)));
    expect(new Set(verified.map(({ jti }) => jti)).size).toBe(kind === 'legacy' ? 4 : 3);
  });

  it('can say nothing about origin, epoch and marks, whatever it says', async () => {
    const { tokens, clock } = await service();
    const seen = fc.oneof(
      fc.jsonValue(),
      fc.record({
        epoch: fc.string(),
        origin: fc.constantFrom('own', 'legacy', 'foreign', null),
        revoked: fc.array(fc.string()),
        until: fc.nat(),
      }),
    );
    await fc.assert(
      fc.asyncProperty(seen, async (value) => {
        const token = await tokens.verify(make({ seen: value }, clock));
        expect(token.seen).toEqual({ epoch: '', origin: kind });
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    ['1 ms before', -1, 'ok'],
    ['at', 0, 'TOKEN_EXPIRED'],
    ['1 ms after', 1, 'TOKEN_EXPIRED'],
  ])('%s the end of exp and tolerance', async (_name, offset, expected) => {
    const { tokens, clock } = await service({ clockTolerance: '5s' });
    const text = make({}, clock);
    clock.advance(3605 * SECOND + offset);
    expect(await ending(tokens.verify(text))).toBe(expected);
  });

  it('lives as long as the longest lifetime, to the second', async () => {
    const { tokens, clock } = await service();
    const iat = clock.time / SECOND;
    for (const [exp, expected] of [
      [iat + 3599, 'ok'],
      [iat + 3600, 'ok'],
      [iat + 3601, 'TOKEN_INVALID'],
    ] as const) {
      expect(await ending(tokens.verify(make({ exp }, clock)))).toBe(expected);
    }
  });

  it('is refused once the longest lifetime was shortened, also when its end has come near', async () => {
    const { tokens, clock } = await service();
    const text = make({ exp: clock.time / SECOND + 1800 }, clock);
    expect(await ending(tokens.verify(text))).toBe('ok');
    const shorter = await service(
      {
        legacy: { expiresIn: '1799s' },
        foreignIssuers: [
          {
            issuer: ISSUER,
            audience: 'api',
            keys: { algorithm: 'ES256', publicKey: idp.publicKey, kid: 'idp' },
            expiresIn: '1799s',
          },
        ],
      },
      { clock },
    );
    clock.advance(1790 * SECOND);
    expect(await ending(shorter.tokens.verify(text))).toBe('TOKEN_INVALID');
  });

  it.each([
    ['5 s', 5, 'ok'],
    ['6 s', 6, 'TOKEN_INVALID'],
  ])('from a host whose clock is %s ahead', async (_name, ahead, expected) => {
    const { tokens, clock } = await service({ clockTolerance: 0 });
    const iat = clock.time / SECOND + ahead;
    expect(await ending(tokens.verify(make({ iat }, clock)))).toBe(expected);
  });

  describe('and a mark', () => {
    const MARKS = {
      TOKEN_REVOKED: ({ tokens }: Assembly) => tokens.revoke({ sub: 'alice' }),
      TOKEN_STALE: ({ tokens }: Assembly) => tokens.markStale({ sub: 'alice' }),
    };

    it.each(
      Object.entries(MARKS).flatMap(([code, mark]) =>
        [0, 1, 499, 999].map((ms) => [code, ms, mark] as const),
      ),
    )(
      'is concerned (%s) by one at %i ms up to 5 s before its iat, not by an earlier one',
      async (code, ms, mark) => {
        const here = await service();
        const { tokens, clock } = here;
        const whole = clock.time / SECOND;
        clock.advance(ms);
        await mark(here);
        clock.advance(20 * SECOND);
        const endings = [];
        for (const iat of [whole + 4, whole + 5, whole + 6]) {
          endings.push(await ending(tokens.verify(make({ iat, jti: `T${iat}` }, clock))));
        }
        // A token made in the very second of the end is older than the mark at its fraction.
        expect(endings).toEqual([code, code, 'ok']);
      },
    );

    it.each([-5, 5])(
      'set by a host whose clock is %i s away ends it all the same',
      async (skew) => {
        const { clock, store, tokens } = await service();
        const text = make({}, clock);
        const elsewhere = await service(
          {},
          { clock: new FakeClock(clock.time + skew * SECOND), store },
        );
        await elsewhere.tokens.revoke({ sub: 'alice' });
        expect(await ending(tokens.verify(text))).toBe('TOKEN_REVOKED');
      },
    );

    it('outlives it, to the last boundary', async () => {
      const { clock, tokens } = await service({ clockTolerance: '5s' });
      const text = make({}, clock);
      const session = make({ jti: 'T2', device: 'phone' }, clock);
      await tokens.revoke({ sub: 'alice' });
      await tokens.revoke({ token: session });
      clock.advance(3605 * SECOND - 1);
      for (const each of [text, session]) {
        expect(await ending(tokens.verify(each))).toBe('TOKEN_REVOKED');
      }
      clock.advance(1);
      for (const each of [text, session]) {
        expect(await ending(tokens.verify(each))).toBe('TOKEN_EXPIRED');
      }
    });

    it('of a tenant concerns it by the same rule', async () => {
      const { clock, tokens } = await service({ denyList: { claims: ['tenant'] } });
      const text = make({ tenant: 'acme' }, clock);
      await tokens.revoke({ tenant: 'acme' });
      clock.advance(10 * SECOND);
      expect(await ending(tokens.verify(text))).toBe('TOKEN_REVOKED');
      const later = make({ tenant: 'acme', jti: 'T2' }, clock);
      expect(await ending(tokens.verify(later))).toBe('ok');
    });

    it('that cannot be dated concerns it: nobody can say that it came first', async () => {
      const { clock, tokens, store } = await service();
      await tokens.revoke({ sub: 'alice' });
      const [key = ''] = store.operations.filter(({ verb }) => verb === 'write').map((o) => o.key);
      await store.write(key, 'x', undefined);
      clock.advance(60 * SECOND);
      expect(await ending(tokens.verify(make({}, clock)))).toBe('TOKEN_REVOKED');
    });
  });
});

describe('a legacy token', () => {
  const traded = async (here: Awaited<ReturnType<typeof service>>, claims: Claims = {}) => {
    const { tokens, resolver, clock } = here;
    const verified = await tokens.verify(KINDS.legacy(claims, clock));
    const { issued } = await resolver.resolve(verified, 'reissue');
    return issued?.claims;
  };

  it.each([
    ['1 ms before', -1, 'ok'],
    ['at', 0, 'TOKEN_EXPIRED'],
    ['1 ms after', 1, 'TOKEN_EXPIRED'],
  ])('without exp, %s the end of what legacy.expiresIn gives it', async (_n, offset, expected) => {
    const { tokens, clock } = await service({ legacy: { expiresIn: '30m' } });
    const text = KINDS.legacy({ exp: undefined }, clock);
    clock.advance(1805 * SECOND + offset);
    expect(await ending(tokens.verify(text))).toBe(expected);
  });

  it('that names an issuer or an audience is refused where the service has none', async () => {
    const { tokens, clock } = await service();
    for (const claims of [{ aud: 'web' }, { aud: ['web'] }, { aud: [] }, { iss: 'old-shop' }]) {
      expect(await ending(tokens.verify(KINDS.legacy(claims, clock)))).toBe('TOKEN_INVALID');
    }
  });

  it.each([
    [{}, {}],
    [
      { issuer: 'shop', audience: 'api' },
      { iss: 'shop', aud: 'api' },
    ],
  ])('for any audience, once that is said, is traded in for one of %j', async (own, parties) => {
    const here = await service({ ...own, legacy: { issuer: '*', audience: '*' } });
    for (const claims of [{ aud: 'web', iss: 'old' }, { aud: ['web', 'x'] }, {}]) {
      const successor = await traded(here, { ...claims, n: JSON.stringify(claims) });
      const { iss, aud } = successor ?? {};
      expect({ ...(iss && { iss }), ...(aud && { aud }) }).toEqual(parties);
      const { issued } = await here.resolver.resolve(successor as never, 'reissue');
      expect(issued).toBeUndefined();
      const next = await here.tokens.reissue(successor as never);
      expect(await ending(here.tokens.verify(next.accessToken))).toBe('ok');
    }
  });

  it('is traded in for one that ends when the first of the two would', async () => {
    for (const [given, expected] of [
      [899, 899],
      [900, 900],
      [901, 900],
      [3600, 900],
    ] as const) {
      const here = await service();
      const iat = here.clock.time / SECOND;
      expect((await traded(here, { exp: iat + given }))?.exp).toBe(iat + expected);
    }
  });

  it('is traded in for one whose session ends with the greatest age since its iat', async () => {
    const here = await service({ session: { maxAge: '20m' } });
    const iat = here.clock.time / SECOND;
    const { clock } = here;
    clock.advance(10 * 60 * SECOND);
    expect((await traded(here, { iat, exp: iat + 3600 }))?.exp).toBe(iat + 1200);
    clock.advance(10 * 60 * SECOND - 1);
    expect((await traded(here, { iat, exp: iat + 3599 }))?.exp).toBe(iat + 1200);
    clock.advance(1);
    expect(await ending(traded(here, { iat, exp: iat + 3598 }))).toBe('SESSION_EXPIRED');
  });

  it('is traded in for one that has seen the marks it was not concerned by', async () => {
    const here = await service();
    const { tokens, clock } = here;
    await tokens.revoke({ sub: 'alice' });
    clock.advance(10 * SECOND);
    const claims = await traded(here);
    expect(claims?.seen.revoked).toHaveLength(1);
    expect(claims?.seen.origin).toBeUndefined();
  });

  it('does not revive by a trade what was revoked while its claims were read', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const other = await service({}, { clock, store });
    const here = await service(
      {
        claims: async () => {
          await other.tokens.revoke({ sub: 'alice' });
          return {};
        },
      },
      { clock, store },
    );
    const text = KINDS.legacy({}, clock);
    const verified = await here.tokens.verify(text);
    const { issued } = await here.resolver.resolve(verified, 'reissue');
    expect(await ending(here.tokens.verify(issued?.accessToken ?? ''))).toBe('TOKEN_REVOKED');
    expect(await ending(here.tokens.verify(text))).toBe('TOKEN_REVOKED');
  });

  it.each([
    ['1 ms before', -1, 'ok'],
    ['at', 0, 'TOKEN_SUPERSEDED'],
    ['1 ms after', 1, 'TOKEN_SUPERSEDED'],
  ])('%s the end of its grace period', async (_name, offset, expected) => {
    const here = await service({ reissue: { gracePeriod: '30s' } });
    const { tokens, resolver, clock } = here;
    const text = KINDS.legacy({}, clock);
    await resolver.resolve(await tokens.verify(text), 'reissue');
    clock.advance(30 * SECOND + offset);
    expect(await ending(tokens.verify(text))).toBe(expected);
  });

  it('stays superseded for as long as it lives', async () => {
    const { tokens, resolver, clock } = await service({ clockTolerance: '5s' });
    const text = KINDS.legacy({}, clock);
    await resolver.resolve(await tokens.verify(text), 'reissue');
    clock.advance(3605 * SECOND - 1);
    expect(await ending(tokens.verify(text))).toBe('TOKEN_SUPERSEDED');
  });

  it('traded in by two processes at once has one successor', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const processes = [
      await service({}, { clock, store }),
      await service({}, { clock: new FakeClock(clock.time + 5 * SECOND), store }),
    ];
    const text = KINDS.legacy({}, clock);
    const results = await Promise.all(
      processes.map(async ({ verifier, resolver }) =>
        resolver.resolve(await verifier.verify(text), 'reissue'),
      ),
    );
    expect(new Set(results.map(({ issued }) => issued?.claims.jti)).size).toBe(1);
    expect(results[0]?.issued?.claims.plan).toBe('free');
  });

  it('with a claim that none of ours can have is not traded in where nobody knows others', async () => {
    const { verifier, resolver, clock } = await service({ claims: undefined });
    const verified = await verifier.verify(KINDS.legacy({ constructor: 'x' }, clock));
    expect(await ending(resolver.resolve(verified, 'reissue'))).toBe('CLAIMS_INVALID');
  });

  it('is not consumed by a trade whose record was not written, whichever it is', async () => {
    for (const verb of ['read', 'writeIfAbsent'] as const) {
      const { tokens, resolver, clock, store } = await service();
      const verified = await tokens.verify(KINDS.legacy({}, clock));
      store.onOperation = (operation) => (operation.verb === verb ? 'lost' : undefined);
      expect(await ending(resolver.resolve(verified, 'reissue'))).toBe('DENY_LIST_UNAVAILABLE');
      store.onOperation = () => undefined;
      clock.advance(60 * SECOND);
      const { issued } = await resolver.resolve(verified, 'reissue');
      expect(issued?.claims.sub).toBe('alice');
    }
  });

  it('whose record was written though that was not confirmed leads to its successor', async () => {
    const { verifier, resolver, clock, store, events } = await service();
    const verified = await verifier.verify(KINDS.legacy({}, clock));
    let reissued = 0;
    events.on('reissued', () => void reissued++);
    store.onOperation = ({ verb, key }) =>
      verb === 'writeIfAbsent' && key.includes('next:') ? 'unconfirmed' : undefined;
    expect(await ending(resolver.resolve(verified, 'reissue'))).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    const { issued } = await resolver.resolve(verified, 'reissue');
    expect(issued?.claims).toMatchObject({ sub: 'alice', plan: 'free', sid: verified.sid });
    expect(reissued).toBe(0);
  });
});

describe('a foreign token', () => {
  it('shares its session with those of the same sid and issuer only', async () => {
    const { tokens, clock } = await service();
    const sidOf = async (claims: Claims) => (await tokens.verify(KINDS.foreign(claims, clock))).sid;
    const session = await sidOf({ jti: 'T1', sid: 'S1' });
    expect(await sidOf({ jti: 'T2', sid: 'S1' })).toBe(session);
    const others = [
      { jti: 'T1' },
      { jti: 'S1' },
      { jti: 'T1', sid: 'S2' },
      { jti: 'T1', sid: '' },
      { jti: 'T1', sid: 7 },
      { jti: 'T1', sid: { iss: ISSUER } },
    ];
    for (const claims of others) expect(await sidOf(claims)).not.toBe(session);
  });

  it('began when it says, or when it was made', async () => {
    const { tokens, clock } = await service();
    const iat = clock.time / SECOND;
    const authTime = async (auth_time: unknown) =>
      (await tokens.verify(KINDS.foreign({ auth_time }, clock))).auth_time;
    expect(await authTime(iat - 60)).toBe(iat - 60);
    for (const value of [undefined, null, 'yesterday', -1]) expect(await authTime(value)).toBe(iat);
  });

  it('is resolved to itself, whatever is asked for', async () => {
    const { tokens, resolver, clock } = await service();
    const verified = await tokens.verify(KINDS.foreign({}, clock));
    for (const policy of ['reissue', 'leave', 'ignore', 'refuse'] as const) {
      const { current, issued } = await resolver.resolve(verified, policy);
      expect({ current, issued }).toEqual({ current: verified, issued: undefined });
    }
    await tokens.markStale({ sub: 'alice' });
    for (const policy of ['reissue', 'leave', 'ignore', 'refuse'] as const) {
      expect(await ending(resolver.resolve(verified, policy))).toBe('TOKEN_STALE');
    }
  });
});
