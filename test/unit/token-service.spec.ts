import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import { ClaimsReader } from '../../lib/token/claims-reader.js';
import { RESERVED_CLAIMS, type VerifiedToken } from '../../lib/token/verified-token.js';
import type { RevokeTarget, StaleTarget } from '../../lib/token-service/revoke-target.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

Logger.overrideLogger(false);

const clock = new FakeClock();
let store: MemoryStore;
/** What the claims source answers. */
let truth: Record<string, unknown> | null;

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new MemoryStore(clock);
  truth = { plan: 'free' };
});

const withSource = (options: Partial<JwtStateOptions> = {}) =>
  assembled({ claims: () => truth, ...options }, { clock, store });
const withoutSource = (options: Partial<JwtStateOptions> = {}) =>
  assembled(options, { clock, store });

const stateOf = (assembly: Assembly, token: { accessToken: string }) =>
  ending(assembly.tokens.verify(token.accessToken));

describe('the claims source', () => {
  const reader = (source: unknown, timeout = 50) => new ClaimsReader(source as never, timeout);

  it('is asked for the subject and the token that is replaced', async () => {
    const asked: unknown[] = [];
    const { tokens } = assembled(
      {
        claims: (...question) => {
          asked.push(question);
          return {};
        },
      },
      { clock, store },
    );
    const issued = await tokens.issue(7);
    await tokens.reissue(issued.claims);
    expect(asked).toEqual([
      ['7', undefined],
      ['7', expect.objectContaining({ jti: issued.claims.jti })],
    ]);
  });

  it.each([...RESERVED_CLAIMS])('may not set %s', async (name) => {
    for (const value of ['x', null]) {
      expect(await ending(reader(() => ({ [name]: value })).read('a', undefined))).toBe(
        'CLAIMS_INVALID',
      );
    }
  });

  it('may not set them by way of toJSON either', async () => {
    for (const name of RESERVED_CLAIMS) {
      // As the documents of some database libraries do.
      const document = { toJSON: () => ({ plan: 'free', [name]: 'x' }) };
      expect(await ending(reader(() => document).read('a', undefined))).toBe('CLAIMS_INVALID');
    }
  });

  it.each(Object.getOwnPropertyNames(Object.prototype))(
    'may not name a claim like a member of every object: %s',
    async (name) => {
      const claims = JSON.parse(`{ "${name}": "x" }`);
      expect(await ending(reader(() => claims).read('a', undefined))).toBe('CLAIMS_INVALID');
      const { tokens } = withoutSource();
      expect(await ending(tokens.issue('alice', claims))).toBe('CLAIMS_INVALID');
      const issued = await tokens.issue('alice');
      expect(await ending(tokens.reissue(issued.claims, claims))).toBe('CLAIMS_INVALID');
    },
  );

  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  it.each([
    ['a BigInt', { n: 1n }],
    ['a cycle', cycle],
    [
      'a value that throws',
      {
        toJSON: () => {
          throw new Error('no');
        },
      },
    ],
    ['a list', [1]],
    ['text', 'premium'],
    ['a number', 5],
    ['false', false],
    ['a function', () => ({})],
    ['what becomes text in JSON', new Date(0)],
    ['what becomes nothing in JSON', { toJSON: () => undefined }],
    ['what becomes a list in JSON', { toJSON: () => [] }],
    ['what becomes null in JSON', { toJSON: () => null }],
  ])('may not answer %s', async (_, answer) => {
    expect(await ending(reader(() => answer).read('a', undefined))).toBe('CLAIMS_INVALID');
  });

  it('answers in JSON, so that the request sees what the token will carry', async () => {
    const date = new Date('2030-01-02T03:04:05Z');
    const claims = { date, gone: undefined, deep: { date } };
    expect(await reader(() => claims).read('a', undefined)).toEqual({
      date: '2030-01-02T03:04:05.000Z',
      deep: { date: '2030-01-02T03:04:05.000Z' },
    });
  });

  it('a date is the same before and after the token was signed', async () => {
    truth = { since: new Date('2030-01-02T03:04:05Z') };
    const { tokens } = withSource();
    const issued = await tokens.issue('alice');
    expect(issued.claims.since).toBe('2030-01-02T03:04:05.000Z');
    expect((await tokens.verify(issued.accessToken)).since).toBe(issued.claims.since);
  });

  it('null: no token', async () => {
    expect(await reader(() => null).read('a', undefined)).toBeNull();
    expect(await reader(async () => null).read('a', undefined)).toBeNull();
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('down');
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('down');
      },
    ],
    ['rejects with nothing', () => Promise.reject()],
    ['takes too long', () => sleep(10_000, {}, { ref: false })],
    ['never answers', () => new Promise(() => {})],
  ])('%s: 503, and nothing is consumed', async (_, source) => {
    expect(await ending(reader(source).read('a', undefined))).toBe('CLAIMS_UNAVAILABLE');
    let broken = false;
    const assembly = assembled(
      {
        claims: () => (broken ? (source() as never) : {}),
        reissue: { claimsTimeout: '20ms' },
      },
      { clock, store },
    );
    const { tokens, resolver } = assembly;
    const issued = await tokens.issue('alice');
    await tokens.markStale({ sub: 'alice' });
    broken = true;
    for (const attempt of [
      () => resolver.resolve(issued.claims, 'reissue'),
      () => resolver.resolve(issued.claims, 'leave'),
      () => tokens.refresh(issued.accessToken),
      () => tokens.reissue(issued.claims),
      () => tokens.issue('alice'),
    ]) {
      expect(await ending(attempt())).toBe('CLAIMS_UNAVAILABLE');
    }
    broken = false;
    expect(await ending(resolver.resolve(issued.claims, 'reissue'))).toBe('ok');
  });

  it('says null for a session that runs: it is revoked, whether or not that can be written', async () => {
    const { tokens, resolver } = withSource();
    for (const written of [true, false]) {
      truth = {};
      store.onOperation = () => undefined;
      const issued = await tokens.issue('alice');
      await tokens.markStale({ sub: 'alice' });
      truth = null;
      store.onOperation = ({ verb }) => (verb === 'write' && !written ? 'lost' : undefined);
      expect(await ending(resolver.resolve(issued.claims, 'reissue'))).toBe('TOKEN_REVOKED');
      truth = {};
      const after = await ending(resolver.resolve(issued.claims, 'reissue'));
      expect(after).toBe(written ? 'TOKEN_REVOKED' : 'ok');
    }
  });

  it('says null at a log-in: there is none', async () => {
    truth = null;
    expect(await ending(withSource().tokens.issue('alice'))).toBe('SUBJECT_REFUSED');
  });
});

describe('a log-in', () => {
  it('makes a token with everything that belongs into one', async () => {
    const { tokens } = withoutSource({ issuer: 'here', audience: ['a', 'b'] });
    const { claims, expiresIn, accessToken } = await tokens.issue('alice', { plan: 'free' });
    const uuid = expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(claims).toEqual({
      plan: 'free',
      iss: 'here',
      aud: ['a', 'b'],
      sub: 'alice',
      jti: uuid,
      sid: uuid,
      iat: 1_800_000_000,
      auth_time: 1_800_000_000,
      exp: 1_800_000_900,
      seen: { epoch: store.get(storeKeys.witness)?.split(' ')[0] },
    });
    expect(expiresIn).toBe(900);
    expect(await tokens.verify(accessToken)).toEqual(claims);
  });

  it('lays given claims over those of the source', async () => {
    truth = { plan: 'free', role: 'member' };
    const { claims } = await withSource().tokens.issue('alice', { role: 'guest', extra: 1 });
    expect(claims).toMatchObject({ plan: 'free', role: 'guest', extra: 1 });
  });

  it.each([...RESERVED_CLAIMS])('takes no %s from its caller', async (name) => {
    expect(await ending(withoutSource().tokens.issue('alice', { [name]: 'x' }))).toBe(
      'CLAIMS_INVALID',
    );
    const { tokens } = withoutSource();
    const issued = await tokens.issue('alice');
    expect(await ending(tokens.reissue(issued.claims, { [name]: 'x' }))).toBe('CLAIMS_INVALID');
  });

  it.each([
    [0, '0'],
    [5, '5'],
    [-5, '-5'],
    [Number.MAX_SAFE_INTEGER, '9007199254740991'],
    ['user 5', 'user 5'],
  ])('of %j is one of %j', async (subject, sub) => {
    expect((await withoutSource().tokens.issue(subject)).claims.sub).toBe(sub);
  });

  it.each([
    [''],
    ['\0'],
    ['\ud800'],
    [1.5],
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    [2 ** 53],
    [null],
    [undefined],
    [{}],
    [['alice']],
    [true],
  ])('of %j is refused', async (subject) => {
    expect(await ending(withoutSource().tokens.issue(subject as never))).toBe('CLAIMS_INVALID');
    expect(await ending(withoutSource().tokens.begin(subject as never))).toBe('CLAIMS_INVALID');
  });

  it('whose token nobody could send back is an error at issue', async () => {
    const plan = 'x'.repeat(6_500);
    expect(await ending(withoutSource().tokens.issue('alice', { plan }))).toBe('TOKEN_TOO_LARGE');
    const cookie = withoutSource({ delivery: { cookie: true } });
    expect(await ending(cookie.tokens.issue('alice', { plan: plan.slice(0, 3_000) }))).toBe(
      'TOKEN_TOO_LARGE',
    );
    expect(
      await ending(withoutSource().tokens.issue('alice', { plan: plan.slice(0, 3_000) })),
    ).toBe('ok');
  });

  it('works at once after everything of the subject was revoked', async () => {
    const { tokens } = withSource();
    const before = await tokens.issue('alice');
    await tokens.revoke({ sub: 'alice' });
    const after = await tokens.issue('alice');
    expect(await ending(tokens.verify(before.accessToken))).toBe('TOKEN_REVOKED');
    expect(await ending(tokens.verify(after.accessToken))).toBe('ok');
    const next = await tokens.reissue(after.claims);
    expect(await ending(tokens.verify(next.accessToken))).toBe('ok');
    await tokens.revoke({ sub: 'alice' });
    expect(await ending(tokens.verify(next.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('works at once in a tenant that was shut and opened again', async () => {
    truth = { tenant: 'acme' };
    const { tokens } = withSource({ denyList: { claims: ['tenant'] } });
    await tokens.revoke({ tenant: 'acme' });
    const issued = await tokens.issue('alice');
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
  });

  it('that began before a change is stale at once', async () => {
    const { tokens, resolver } = withSource();
    const login = await tokens.begin('alice');
    await tokens.markStale({ sub: 'alice' });
    const issued = await tokens.issue(login);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
    expect(await ending(resolver.resolve(issued.claims, 'reissue'))).toBe('ok');
  });

  it('that began before a revocation is revoked at once', async () => {
    const { tokens } = withSource();
    const login = await tokens.begin('alice');
    await tokens.revoke({ sub: 'alice' });
    const issued = await tokens.issue(login);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('during which a change happens is stale at once', async () => {
    const { tokens } = assembled(
      {
        claims: async () => {
          await tokens.markStale({ sub: 'alice' });
          return {};
        },
      },
      { clock, store },
    ) as Assembly;
    const issued = await tokens.issue('alice');
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
  });

  it('begun for a tenant’s claims that were read before the tenant changed is stale at once', async () => {
    truth = {};
    const { tokens } = withSource({ denyList: { claims: ['tenant'] } });
    const login = await tokens.begin('alice', { tenant: 'acme' });
    // The caller reads what the tenant has booked; then that changes.
    const claims = { tenant: 'acme', seats: 5 };
    await tokens.markStale({ tenant: 'acme' });
    const issued = await tokens.issue(login, claims);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
  });

  it('may not be given a tenant that it was not begun for', async () => {
    const { tokens } = withSource({ denyList: { claims: ['tenant'] } });
    const login = await tokens.begin('alice');
    expect(await ending(tokens.issue(login, { tenant: 'acme' }))).toBe('CLAIMS_INVALID');
  });

  it('into a tenant whose marks were not read asks the source once more, after them', async () => {
    let asked = 0;
    const { tokens } = assembled(
      {
        claims: async () => {
          asked += 1;
          if (asked === 1) await tokens.markStale({ tenant: 'acme' });
          return { tenant: 'acme', answer: asked };
        },
        denyList: { claims: ['tenant'] },
      },
      { clock, store },
    ) as Assembly;
    const issued = await tokens.issue('alice');
    expect(asked).toBe(2);
    expect(issued.claims.answer).toBe(2);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
  });

  it('whose tenant changes with every question is not answered', async () => {
    let asked = 0;
    const { tokens } = assembled(
      { claims: () => ({ tenant: `t${asked++}` }), denyList: { claims: ['tenant'] } },
      { clock, store },
    );
    expect(await ending(tokens.issue('alice'))).toBe('CLAIMS_UNAVAILABLE');
  });
});

describe('an issued token', () => {
  it('is in JSON what a token endpoint answers (RFC 6749 §5.1)', async () => {
    const issued = await withoutSource().tokens.issue('alice');
    expect(JSON.parse(JSON.stringify(issued))).toEqual({
      access_token: issued.accessToken,
      token_type: 'Bearer',
      expires_in: 900,
    });
  });

  it('shows itself in no log', async () => {
    const issued = await withoutSource().tokens.issue('alice');
    const signature = issued.accessToken.split('.')[2] as string;
    for (const shown of [
      inspect(issued),
      inspect(issued, { depth: null, showHidden: true }),
      inspect({ nested: [issued] }, { depth: null }),
      inspect(new Error('x', { cause: issued })),
      `${issued}`,
    ]) {
      expect(shown).not.toContain(signature);
    }
    expect(inspect(issued)).toContain(issued.claims.jti);
  });
});

describe('a reissue', () => {
  it('keeps exp, iss, aud, sid and auth_time, and has claims of today', async () => {
    const { tokens } = withSource({ issuer: 'here', audience: 'everybody' });
    const first = await tokens.issue('alice');
    clock.advance(60_000);
    truth = { plan: 'premium' };
    const { claims, expiresIn } = await tokens.reissue(first.claims);
    const { exp, iss, aud, sid, auth_time, sub } = first.claims;
    expect(claims).toMatchObject({ exp, iss, aud, sid, auth_time, sub, plan: 'premium' });
    expect(claims.iat).toBe(first.claims.iat + 60);
    expect(claims.jti).not.toBe(first.claims.jti);
    expect(expiresIn).toBe(840);
  });

  it('by a service of more audiences widens no token', async () => {
    const narrow = withSource({ audience: 'a' });
    const wide = withSource({ audience: ['a', 'b'] });
    const issued = await narrow.tokens.issue('alice');
    expect(issued.claims.aud).toBe('a');
    const reissued = await wide.tokens.reissue(issued.claims);
    expect(reissued.claims.aud).toBe('a');
  });

  it('has a new exp where that is configured', async () => {
    const { tokens } = withSource({ reissue: { expiry: 'renew' } });
    const first = await tokens.issue('alice');
    clock.advance(60_000);
    const second = await tokens.reissue(first.claims);
    expect(second.claims.exp).toBe(first.claims.exp + 60);
  });

  it('lays changes over what the source says; they are found in the next `previous`', async () => {
    const { tokens } = assembled(
      { claims: (_, previous) => ({ plan: 'free', tenant: previous?.tenant ?? 'acme' }) },
      { clock, store },
    );
    const first = await tokens.issue('alice');
    const second = await tokens.reissue(first.claims, { tenant: 'globex' });
    expect(second.claims).toMatchObject({ plan: 'free', tenant: 'globex' });
    const third = await tokens.reissue(second.claims);
    expect(third.claims.tenant).toBe('globex');
  });

  it('without a source keeps the other claims', async () => {
    const { tokens } = withoutSource();
    const first = await tokens.issue('alice', { plan: 'free', role: 'member' });
    const second = await tokens.reissue(first.claims, { plan: 'premium' });
    expect(second.claims).toMatchObject({ plan: 'premium', role: 'member' });
  });

  it('in flight cannot revive a session that is revoked meanwhile', async () => {
    type Target = (token: VerifiedToken) => Parameters<Assembly['tokens']['revoke']>[0];
    const targets: Target[] = [
      ({ sid }) => ({ sid }),
      () => ({ sub: 'alice' }),
      () => ({ tenant: 'acme' }),
    ];
    for (const target of targets) {
      let meanwhile: () => Promise<void> = async () => {};
      const { tokens } = assembled(
        {
          claims: async () => {
            await meanwhile();
            return { tenant: 'acme' };
          },
          denyList: { claims: ['tenant'] },
        },
        { clock, store },
      ) as Assembly;
      const issued = await tokens.issue('alice');
      meanwhile = () => tokens.revoke(target(issued.claims));
      const reissued = await tokens.reissue(issued.claims);
      for (const token of [issued, reissued]) {
        expect(await ending(tokens.verify(token.accessToken))).toBe('TOKEN_REVOKED');
      }
    }
  });

  it('of a revoked, lost or superseded token does not happen', async () => {
    const { tokens } = withSource();
    const [one, two, three] = [
      await tokens.issue('alice'),
      await tokens.issue('bob'),
      await tokens.issue('carol'),
    ];
    await tokens.revoke(one.claims);
    expect(await ending(tokens.reissue(one.claims))).toBe('TOKEN_REVOKED');
    const second = await tokens.reissue(two.claims);
    const third = await tokens.reissue(two.claims, { plan: 'premium' });
    expect(await stateOf(withSource(), second)).toBe('ok');
    expect((await tokens.verify(second.accessToken)).jti).toBe(third.claims.jti);
    store.clear();
    expect(await ending(tokens.reissue(three.claims))).toBe('DENY_LIST_LOST');
  });

  it('by many at once ends with one successor', async () => {
    const [a, b] = [withSource(), withSource()];
    const issued = await a.tokens.issue('alice');
    await a.tokens.markStale({ sub: 'alice' });
    const resolved = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        (i % 2 ? a : b).resolver.resolve(issued.claims, 'reissue'),
      ),
    );
    expect(new Set(resolved.map(({ current }) => current.jti)).size).toBe(1);
    expect(new Set(resolved.map((r) => r.issued?.claims.jti)).size).toBe(1);
  });
});

describe('a refresh', () => {
  it('has a new exp and claims of today, and supersedes', async () => {
    const { tokens } = withSource();
    const first = await tokens.issue('alice');
    clock.advance(600_000);
    truth = { plan: 'premium' };
    const second = await tokens.refresh(first.accessToken);
    expect(second.claims).toMatchObject({ exp: first.claims.exp + 600, plan: 'premium' });
    expect((await tokens.verify(first.accessToken)).jti).toBe(second.claims.jti);
    clock.advance(30_000);
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
  });

  it.each([0, 1_000, 10_000])(
    '%p ms later, with the superseded token, gives the tip',
    async (later) => {
      const { tokens } = withSource();
      const first = await tokens.issue('alice');
      const second = await tokens.refresh(first.accessToken);
      clock.advance(later);
      const again = await tokens.refresh(first.accessToken);
      expect(again.claims.jti).toBe(second.claims.jti);
    },
  );

  it.each([1, 30])('by %p at once ends with one successor', async (count) => {
    const { tokens } = withSource({ session: { maxAge: '1000s' } });
    const first = await tokens.issue('alice');
    // The greatest age of the session caps every new exp.
    clock.advance(850_000);
    const all = await Promise.all(
      Array.from({ length: count }, () => tokens.refresh(first.accessToken)),
    );
    expect(new Set(all.map(({ claims }) => claims.jti)).size).toBe(1);
  });

  it('of a stale token gives one that knows', async () => {
    const { tokens } = withSource();
    const first = await tokens.issue('alice');
    await tokens.markStale({ sub: 'alice' });
    const second = await tokens.refresh(first.accessToken);
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
  });

  it('of an expired or revoked token, or of none, does not happen', async () => {
    const { tokens } = withSource();
    const first = await tokens.issue('alice');
    await tokens.revoke(first.claims);
    expect(await ending(tokens.refresh(first.accessToken))).toBe('TOKEN_REVOKED');
    clock.advance(905_000);
    expect(await ending(tokens.refresh(first.accessToken))).toBe('TOKEN_EXPIRED');
    expect(await ending(tokens.refresh(''))).toBe('TOKEN_INVALID');
  });

  it('renews up to the greatest age of the session, and not beyond', async () => {
    const { tokens } = withSource({ session: { maxAge: '1h' } });
    let token = await tokens.issue('alice');
    const end = token.claims.auth_time + 3_600;
    for (let minutes = 10; minutes < 60; minutes += 10) {
      clock.advance(600_000);
      token = await tokens.refresh(token.accessToken);
      expect(token.claims.exp).toBe(Math.min(end, token.claims.iat + 900));
      expect(token.claims.auth_time).toBe(end - 3_600);
    }
    expect(token.claims.exp).toBe(end);
    // Within the tolerance of `exp` the token still runs; it is not renewed.
    clock.time = end * 1000;
    expect(await ending(tokens.verify(token.accessToken))).toBe('ok');
    expect(await ending(tokens.refresh(token.accessToken))).toBe('SESSION_EXPIRED');
    clock.advance(5_000);
    expect(await ending(tokens.verify(token.accessToken))).toBe('TOKEN_EXPIRED');
  });

  it('a first token does not outlive the greatest age either', async () => {
    const { tokens } = withSource({ session: { maxAge: '1m' } });
    const { claims } = await tokens.issue('alice');
    expect(claims.exp - claims.auth_time).toBe(60);
  });

  it('a stale token within the tolerance of its exp still runs, with fresh claims', async () => {
    const { tokens, resolver } = withSource();
    const issued = await tokens.issue('alice');
    await tokens.markStale({ sub: 'alice' });
    truth = { plan: 'premium' };
    clock.advance(900_000 + 4_999);
    const { current } = await resolver.resolve(issued.claims, 'reissue');
    expect(current.plan).toBe('premium');
  });
});

describe('revoke', () => {
  it.each([
    ['its text', (token: { accessToken: string }) => ({ token: token.accessToken })],
    ['its claims', (token: { claims: VerifiedToken }) => token.claims],
    ['its claims, named', (token: { claims: VerifiedToken }) => ({ token: token.claims })],
    ['its sid', (token: { claims: VerifiedToken }) => ({ sid: token.claims.sid })],
  ])('by %s ends the session of a token, its successors too', async (_, target) => {
    const { tokens } = withSource();
    const first = await tokens.issue('alice');
    const second = await tokens.reissue(first.claims);
    const other = await tokens.issue('alice');
    await tokens.revoke(target(first));
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_REVOKED');
    expect(await ending(tokens.verify(second.accessToken))).toBe('TOKEN_REVOKED');
    expect(await ending(tokens.verify(other.accessToken))).toBe('ok');
  });

  it('takes an expired token: its session may have later ones', async () => {
    const { tokens } = withSource();
    const first = await tokens.issue('alice');
    clock.advance(800_000);
    const second = await tokens.refresh(first.accessToken);
    clock.advance(800_000);
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_EXPIRED');
    await tokens.revoke({ token: first.accessToken });
    expect(await ending(tokens.verify(second.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('takes no token of somebody else', async () => {
    const { tokens } = withSource();
    const issued = await tokens.issue('alice');
    for (const text of ['', 'alice', `${issued.accessToken}x`, issued.accessToken.slice(1)]) {
      expect(await ending(tokens.revoke({ token: text }))).toBe('INVALID_TARGET');
    }
  });

  it('a text alone is no target: it could be a user id', async () => {
    const { tokens } = withSource();
    const { accessToken, claims } = await tokens.issue('user-42');
    const before = store.operations.length;
    for (const text of ['user-42', claims.sid, accessToken]) {
      // @ts-expect-error A target says what it is.
      const revoked = tokens.revoke(text);
      await expect(revoked).rejects.toMatchObject({
        code: 'INVALID_TARGET',
        message: expect.stringMatching(/\{ sub \}.*\{ token \}/),
      });
      // @ts-expect-error A target says what it is.
      const marked = tokens.markStale(text);
      await expect(marked).rejects.toMatchObject({ code: 'INVALID_TARGET' });
    }
    expect(store.operations).toHaveLength(before);
    // @ts-expect-error A number alone says no more.
    expect(await ending(tokens.revoke(42))).toBe('INVALID_TARGET');
    // @ts-expect-error There are no such ids.
    expect(await ending(tokens.revoke({ sub: 42n }))).toBe('INVALID_TARGET');
    // @ts-expect-error A session has no number.
    expect(await ending(tokens.revoke({ sid: 42, except: claims }))).toBe('INVALID_TARGET');
    // @ts-expect-error Nothing else may stand beside the exception.
    expect(await ending(tokens.revoke({ except: claims }))).toBe('INVALID_TARGET');
  });

  it('a number that no token can have is no target: it would be reported as done', async () => {
    const { tokens } = withSource({ denyList: { claims: ['tenant'] } });
    const before = store.operations.length;
    const unsafe = 2 ** 53;
    const targets: StaleTarget[] = [
      ...[1.5, unsafe, -unsafe, Number.NaN, Number.POSITIVE_INFINITY].map((sub) => ({ sub })),
      ...[unsafe, Number.NaN, Number.NEGATIVE_INFINITY].map((tenant) => ({ tenant })),
      { sid: 5 as never },
    ];
    for (const target of targets) {
      expect(await ending(tokens.revoke(target))).toBe('INVALID_TARGET');
      expect(await ending(tokens.markStale(target))).toBe('INVALID_TARGET');
    }
    expect(store.operations).toHaveLength(before);
    expect(await ending(tokens.issue('alice', { tenant: unsafe }))).toBe('CLAIMS_INVALID');
    const sound: StaleTarget[] = [{ sub: 5 }, { sub: -0 }, { tenant: 1.5 }, { tenant: unsafe - 1 }];
    for (const target of sound) await tokens.revoke(target);
  });

  it.each([undefined, null, 5, true, {}, [], { jti: 'j' }])(
    'the token %j is none',
    async (token) => {
      const { tokens } = withSource();
      expect(await ending(tokens.revoke({ token } as never))).toBe('INVALID_TARGET');
      const { accessToken } = await tokens.issue('alice');
      const beside = { token: accessToken, sub: 'alice' };
      expect(await ending(tokens.revoke(beside as never))).toBe('INVALID_TARGET');
      expect(await ending(tokens.markStale({ token: accessToken }))).toBe('INVALID_TARGET');
    },
  );

  it('is no refusal that a client could take for its own, but 422', async () => {
    const { tokens } = withSource();
    const targets: RevokeTarget[] = [{ token: 'x' }, { sub: '' }, { user: 'alice' }];
    for (const target of targets) {
      const error = await tokens.revoke(target).then(
        () => undefined,
        (cause: unknown) => cause,
      );
      expect(error).toMatchObject({ status: 422, bearerError: undefined });
    }
  });

  const BAD: unknown[] = [
    undefined,
    null,
    5,
    true,
    {},
    [],
    ['alice'],
    { sub: undefined },
    { sub: null },
    { sub: '' },
    { sub: '\0' },
    { sub: Number.NaN },
    { sub: {} },
    { sub: ['alice'] },
    { sid: undefined },
    { sid: '' },
    { sub: 'alice', sid: 's' },
    { sub: 'alice', tenant: 'acme' },
    { sub: 'alice', sid: undefined },
    { user: 'alice' },
    { role: 'admin' },
    { jti: 'j' },
    { tenant: undefined },
    { tenant: null },
    { __proto__: { sub: 'alice' } },
    { toString: 'x' },
  ];
  it.each(BAD.map((target) => [target]))(
    'names one scope with a value: %j does not',
    async (target) => {
      const { tokens } = withSource({ denyList: { claims: ['tenant'] } });
      const before = store.operations.length;
      expect(await ending(tokens.revoke(target as never))).toBe('INVALID_TARGET');
      expect(await ending(tokens.markStale(target as never))).toBe('INVALID_TARGET');
      expect(store.operations).toHaveLength(before);
    },
  );

  it('markStale takes no tokens and no exceptions', async () => {
    const { tokens } = withSource();
    const { claims, accessToken } = await tokens.issue('alice');
    for (const target of [accessToken, claims, { sub: 'alice', except: claims }]) {
      expect(await ending(tokens.markStale(target as never))).toBe('INVALID_TARGET');
    }
  });

  it('markStale makes no sense without a source', async () => {
    expect(await ending(withoutSource().tokens.markStale({ sub: 'a' }))).toBe('NO_CLAIMS_SOURCE');
  });
});

describe('revoke all but mine', () => {
  it('leaves the caller’s session, also after further reissues, and no other', async () => {
    const { tokens } = withSource();
    const mine = await tokens.issue('alice');
    const others = [await tokens.issue('alice'), await tokens.issue('alice')];
    const somebody = await tokens.issue('bob');
    await tokens.revoke({ sub: 'alice', except: mine.claims });
    for (const other of others) {
      expect(await ending(tokens.verify(other.accessToken))).toBe('TOKEN_REVOKED');
    }
    expect(await ending(tokens.verify(somebody.accessToken))).toBe('ok');
    expect(await ending(tokens.verify(mine.accessToken))).toBe('ok');
    const next = await tokens.reissue(mine.claims);
    expect(await ending(tokens.verify(next.accessToken))).toBe('ok');
    expect(await ending(tokens.verify((await tokens.issue('alice')).accessToken))).toBe('ok');
  });

  it('takes a numeric id for its digits', async () => {
    const { tokens } = withSource();
    const [mine, other] = [await tokens.issue(5), await tokens.issue('5')];
    await tokens.revoke({ sub: 5, except: mine.claims });
    expect(await ending(tokens.verify(mine.accessToken))).toBe('ok');
    expect(await ending(tokens.verify(other.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('revives nobody: a revoked session is not excepted', async () => {
    const { tokens } = withSource();
    const [dead, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    for (const end of [
      () => tokens.revoke(dead.claims),
      () => tokens.revoke({ sub: 'alice', except: other.claims }),
    ]) {
      await end();
      await tokens.revoke({ sub: 'alice', except: dead.claims });
      expect(await ending(tokens.verify(dead.accessToken))).toBe('TOKEN_REVOKED');
      expect(await ending(tokens.verify(other.accessToken))).toBe('TOKEN_REVOKED');
    }
  });

  it('a session ended by "all but mine" stays ended when another one says so too', async () => {
    const { tokens } = withSource();
    const [a, b] = [await tokens.issue('alice'), await tokens.issue('alice')];
    await tokens.revoke({ sub: 'alice', except: a.claims });
    await tokens.revoke({ sub: 'alice', except: b.claims });
    expect(await ending(tokens.verify(b.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('does not undo "log out everywhere"', async () => {
    const { tokens } = withSource();
    const before = await tokens.issue('alice');
    await tokens.revoke({ sub: 'alice' });
    const mine = await tokens.issue('alice');
    await tokens.revoke({ sub: 'alice', except: mine.claims });
    expect(await ending(tokens.verify(before.accessToken))).toBe('TOKEN_REVOKED');
    await tokens.revoke({ sub: 'alice' });
    expect(await ending(tokens.verify(mine.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('takes the live token of the same subject, and nothing else', async () => {
    const { tokens } = withSource();
    const mine = await tokens.issue('alice');
    const somebody = await tokens.issue('bob');
    for (const except of [
      undefined,
      null,
      '',
      mine.claims.sid,
      mine.accessToken,
      { sid: mine.claims.sid },
      {},
      somebody.claims,
    ]) {
      expect(await ending(tokens.revoke({ sub: 'alice', except } as never))).toBe('INVALID_TARGET');
    }
    const sid = { sid: mine.claims.sid, except: mine.claims };
    expect(await ending(tokens.revoke(sid as never))).toBe('INVALID_TARGET');
    expect(await ending(tokens.verify(mine.accessToken))).toBe('ok');
  });

  it('keeps the caller’s superseded token going, in grace', async () => {
    const { tokens } = withSource();
    const first = await tokens.issue('alice');
    const second = await tokens.reissue(first.claims);
    await tokens.revoke({ sub: 'alice', except: first.claims });
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
  });
});

describe('a store that has lost everything', () => {
  const lost = async (options: Partial<JwtStateOptions>) => {
    const assembly = withSource(options);
    const issued = await assembly.tokens.issue('alice');
    const revoked = await assembly.tokens.issue('bob');
    await assembly.tokens.revoke(revoked.claims);
    store.clear();
    return { ...assembly, issued, revoked };
  };

  it('reject: older tokens are refused, new ones work', async () => {
    const { tokens, resolver, issued, revoked } = await lost({});
    for (const token of [issued, revoked, issued]) {
      expect(await ending(tokens.verify(token.accessToken))).toBe('DENY_LIST_LOST');
      expect(await ending(resolver.resolve(token.claims, 'reissue'))).toBe('DENY_LIST_LOST');
      expect(await ending(tokens.refresh(token.accessToken))).toBe('DENY_LIST_LOST');
    }
    const fresh = await tokens.issue('alice');
    expect(await ending(tokens.verify(fresh.accessToken))).toBe('ok');
  });

  it('reissue: older tokens are stale, and their successors know the new store', async () => {
    const { tokens, resolver, issued } = await lost({ denyList: { onLoss: 'reissue' } });
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
    truth = { plan: 'premium' };
    const resolved = await Promise.all(
      Array.from({ length: 5 }, () => resolver.resolve(issued.claims, 'reissue')),
    );
    expect(new Set(resolved.map(({ current }) => current.jti)).size).toBe(1);
    expect(resolved[0]?.current.plan).toBe('premium');
    expect(await ending(tokens.verify(resolved[0]?.issued?.accessToken as string))).toBe('ok');
  });

  it('accept: older tokens run, and what is revoked from now on is revoked', async () => {
    const { tokens, issued, revoked } = await lost({ denyList: { onLoss: 'accept' } });
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
    expect(await ending(tokens.verify(revoked.accessToken))).toBe('ok');
    await tokens.revoke(issued.claims);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('a single look that finds no witness is asked again before it has consequences', async () => {
    const { tokens } = withSource();
    const issued = await tokens.issue('alice');
    const entries = new Map(store.entries);
    let reads = 0;
    store.onOperation = ({ verb }) => {
      // A replica that has not synced answers the first look.
      if (verb === 'read' && reads++ === 0) store.clear();
      else for (const [key, entry] of entries) store.entries.set(key, entry);
      return undefined;
    };
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
  });

  it('all who come first agree on its witness', async () => {
    const { tokens } = withSource();
    const issued = await Promise.all(Array.from({ length: 20 }, () => tokens.issue('alice')));
    expect(new Set(issued.map(({ claims }) => claims.seen.epoch)).size).toBe(1);
  });
});
