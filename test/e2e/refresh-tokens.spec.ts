import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { JwtStateOptions } from 'nestjs-jwt-state';
import {
  expectNewToken,
  expectNoGrant,
  expectNoNewToken,
  expectRefusal,
} from '../support/expectations.js';
import { forge } from '../support/forge.js';
import {
  exchange,
  exchanged,
  logIn,
  type Pair,
  pairOf,
  REFRESH_PATH,
} from '../support/refresh-client.js';
import { SessionController } from '../support/session.controller.js';
import {
  claimsOf,
  clock,
  closeApps,
  MATRIX,
  PLATFORMS,
  type Platform,
  startApp,
  type TestApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

const OPTIONS = {
  accessToken: { expiresIn: '15m' },
  refresh: { tokens: { expiresIn: '1h' } },
} satisfies Partial<JwtStateOptions>;

const start = (
  platform: Platform,
  options: Partial<JwtStateOptions> = {},
  store: TestStore = TestStore.create('memory'),
) =>
  startApp({
    platform,
    store,
    options: { ...OPTIONS, ...options },
    controllers: [SessionController],
  });

const jtiOf = ({ refresh }: Pair) => claimsOf(refresh).jti;

/** A log-in and two uses: the first of the three was used, and so was its successor. */
async function triple(app: TestApp): Promise<[Pair, Pair, Pair]> {
  const first = await logIn(app);
  const second = await exchanged(app, first);
  return [first, second, await exchanged(app, second)];
}

async function expectEnded(app: TestApp, ...pairs: Pair[]): Promise<void> {
  for (const { access, refresh } of pairs) {
    expectRefusal(await app.get('/me', access), 'TOKEN_REVOKED');
    expectNoGrant(await exchange(app, refresh));
  }
}

/** That this is alive: its access token runs, and its refresh token brings the next. */
async function expectAlive(app: TestApp, pair: Pair): Promise<void> {
  expectNoNewToken(await app.get('/me', pair.access));
  await exchanged(app, pair);
}

describe.each(MATRIX)('Refresh tokens: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let app: TestApp;

  beforeEach(async () => {
    store = TestStore.create(kind);
    app = await start(platform, {}, store);
  });
  afterEach(closeApps);

  describe('a log-in', () => {
    it('brings a pair of one session (RFC 6749 §5.1), not to be cached', async () => {
      const reply = await app.post('/login', undefined, { user: 'alice' });
      const { access, refresh } = pairOf(reply);
      expect(reply.headers.get('content-type')).toMatch(/^application\/json/);
      expect(reply.headers.getSetCookie()).toEqual([]);
      expect(reply.body.expires_in).toBeGreaterThan(890);
      expect(reply.body.expires_in).toBeLessThanOrEqual(900);
      const { sid, exp, iat, jti } = claimsOf(refresh);
      expect(sid).toBe(claimsOf(access).sid);
      expect(jti).not.toBe(claimsOf(access).jti);
      expect(exp - iat).toBe(3_600);
      expectNoNewToken(await app.get('/me', access), { sub: 'alice' });
    });
  });

  describe('a use', () => {
    it('brings a new pair of the same session, which says the same', async () => {
      const first = await logIn(app);
      const second = await exchanged(app, first);
      const { sid, auth_time } = claimsOf(first.access);
      expect(claimsOf(second.access)).toMatchObject({ sub: 'alice', sid, auth_time, plan: 'free' });
      expect(claimsOf(second.refresh)).toMatchObject({ sid });
      const ids = [first, second].flatMap((pair) => [claimsOf(pair.access).jti, jtiOf(pair)]);
      expect(new Set(ids).size).toBe(4);
      await expectAlive(app, second);
    });

    it('renews both lifetimes: a session outlives its access tokens, and its refresh tokens', async () => {
      let pair = await logIn(app);
      for (let use = 0; use < 3; use++) {
        clock.advance('50m');
        expectRefusal(await app.get('/me', pair.access), 'TOKEN_EXPIRED');
        pair = await exchanged(app, pair);
        expectNoNewToken(await app.get('/me', pair.access));
      }
    });

    it('goes no further than session.maxAge from the log-in', async () => {
      const limited = await start(platform, { session: { maxAge: '70m' } }, store);
      const first = await logIn(limited);
      const end = claimsOf(first.access).auth_time + 70 * 60;
      clock.advance('59m');
      const second = await exchanged(limited, first);
      expect([claimsOf(second.access).exp, claimsOf(second.refresh).exp]).toEqual([end, end]);
      clock.advance('12m');
      expectNoGrant(await exchange(limited, second.refresh));
    });

    it('leaves the access token alone that came before', async () => {
      const first = await logIn(app);
      await exchanged(app, first);
      clock.advance('31s');
      expectNoNewToken(await app.get('/me', first.access), { jti: claimsOf(first.access).jti });
    });

    it('is TokenService.refresh() for those who have no route', async () => {
      const first = await logIn(app);
      const { claims, refreshToken } = await app.tokens.refresh(first.refresh);
      expect(claims).toMatchObject({ sid: claimsOf(first.access).sid });
      const again = await exchanged(app, first);
      expect(jtiOf(again)).toBe(claimsOf(refreshToken).jti);
      await app.tokens.revoke({ token: first.access });
      const refusal = { code: 'INVALID_GRANT' };
      await expect(app.tokens.refresh(first.refresh)).rejects.toMatchObject(refusal);
    });
  });

  describe('rotation', () => {
    it('parallel uses end with one successor, and each has an access token of its own', async () => {
      const first = await logIn(app);
      const pairs = await Promise.all(Array.from({ length: 20 }, () => exchanged(app, first)));
      expect(new Set(pairs.map(jtiOf)).size).toBe(1);
      expect(new Set(pairs.map(({ access }) => claimsOf(access).jti)).size).toBe(20);
      for (const { access } of pairs) expectNoNewToken(await app.get('/me', access));
      expect(jtiOf(pairs[0] as Pair)).not.toBe(jtiOf(first));
    });

    it('a used token leads to the tip of its successors, in its grace period', async () => {
      const [first, second, third] = await triple(app);
      clock.advance('25s');
      for (const used of [first, second, first]) {
        const again = await exchanged(app, used);
        expect(claimsOf(again.refresh)).toEqual(claimsOf(third.refresh));
        expectNoNewToken(await app.get('/me', again.access));
      }
      // To be told of it was no use of it.
      expect(jtiOf(await exchanged(app, third))).not.toBe(jtiOf(third));
    });

    it('a used token leads to its successor for as long as nobody has used that: a lost answer', async () => {
      const first = await logIn(app);
      const second = await exchanged(app, first);
      for (const wait of ['31s', '10m', '40m'] as const) {
        clock.advance(wait);
        const again = await exchanged(app, first);
        expect(claimsOf(again.refresh)).toEqual(claimsOf(second.refresh));
        expectNoNewToken(await app.get('/me', again.access));
      }
      await expectAlive(app, await exchanged(app, second));
    });

    it('grace counts from the first use: repetitions do not extend it', async () => {
      const [first] = await triple(app);
      clock.advance('20s');
      await exchanged(app, first);
      clock.advance('11s');
      expectNoGrant(await exchange(app, first.refresh));
    });

    it('a token that comes back after grace, its successor used, ends the whole session', async () => {
      const pairs = await triple(app);
      const [first, , third] = pairs;
      const other = await logIn(app);
      clock.advance('31s');
      expectNoNewToken(await app.get('/me', third.access));
      expectNoGrant(await exchange(app, first.refresh));
      await expectEnded(app, ...pairs);
      await expectAlive(app, other);
    });

    it('a reuse that cannot be written down is 503, and found at the next attempt', async () => {
      const pairs = await triple(app);
      const [first, , third] = pairs;
      clock.advance('31s');
      store.fail('write', /:sid:/);
      expectRefusal(await exchange(app, first.refresh), 'DENY_LIST_UNAVAILABLE');
      store.recover();
      expectNoNewToken(await app.get('/me', third.access));
      expectNoGrant(await exchange(app, first.refresh));
      await expectEnded(app, ...pairs);
    });
  });

  describe('a token that leads to nothing', () => {
    it('is answered alike, byte for byte, whatever is the matter with it', async () => {
      const answers: [string, unknown][] = [];
      const note = async (what: string, token: string) =>
        answers.push([what, await wholeAnswer(app, token)]);

      const [reused, , live] = await triple(app);
      const expiring = await logIn(app);
      const loggedOut = await logIn(app);
      await app.tokens.revoke({ token: loggedOut.access });
      const gone = await logIn(app, 'bob');
      app.users.remove('bob');
      clock.advance('31s');
      await note('is of no kind', 'not-a-token');
      await note(
        'is signed by somebody else',
        forge({ payload: claimsOf(live.refresh), key: 'x' }),
      );
      await note('is an access token', live.access);
      await note('is unsigned', live.refresh.replace(/[^.]*$/, ''));
      await note('is revoked', loggedOut.refresh);
      await note('is of a subject that is gone', gone.refresh);
      await note('is reused', reused.refresh);
      await note('is reused once more', reused.refresh);
      await note('was the last one, before the reuse', live.refresh);
      clock.advance('61m');
      await note('has expired', expiring.refresh);

      const [[, expected]] = answers as [[string, unknown]];
      expect(expected).toMatchObject({ status: 400 });
      expect(answers).toEqual(answers.map(([what]) => [what, expected]));
      const reply = await exchange(app, expiring.refresh);
      expectNoGrant(reply);
      expect(reply.headers.getSetCookie()).toEqual([]);
    });
  });

  describe('what is not known consumes nothing', () => {
    const troubles: [string, 'DENY_LIST_UNAVAILABLE' | 'CLAIMS_UNAVAILABLE', () => void][] = [
      ['nothing can be read', 'DENY_LIST_UNAVAILABLE', () => store.fail('read')],
      [
        'the successor cannot be written',
        'DENY_LIST_UNAVAILABLE',
        () => store.fail('write', /:next:/),
      ],
      ['the claims source throws', 'CLAIMS_UNAVAILABLE', () => app.users.fail('throws')],
    ];

    it.each(troubles)('%s: 503, and the same token works afterwards', async (_, code, trouble) => {
      const first = await logIn(app);
      trouble();
      const reply = await exchange(app, first.refresh);
      expectRefusal(reply, code);
      expect(reply.headers.get('cache-control')).toBe('no-store');
      store.recover();
      app.users.recover();
      // Had that attempt used it, its grace would be over at the end of this.
      clock.advance('25s');
      const second = await exchanged(app, first);
      const third = await exchanged(app, second);
      clock.advance('25s');
      expect(jtiOf(await exchanged(app, first))).toBe(jtiOf(third));
    });

    it('onUnavailable: accept lets requests run, but no token be exchanged', async () => {
      const lax = await start(platform, { denyList: { onUnavailable: 'accept' } }, store);
      const { access, refresh } = await logIn(lax);
      store.fail();
      expectNoNewToken(await lax.get('/me', access));
      expectRefusal(await exchange(lax, refresh), 'DENY_LIST_UNAVAILABLE');
      store.recover();
      pairOf(await exchange(lax, refresh));
    });
  });

  describe('state', () => {
    it('is read at every use, mark or no mark', async () => {
      const first = await logIn(app);
      app.users.set('alice', { plan: 'premium' });
      const { access } = await exchanged(app, first);
      expectNoNewToken(await app.get('/me', access), { plan: 'premium' });
    });

    it('that was marked stale never rejects a refresh token: fresh claims come with it', async () => {
      const first = await logIn(app);
      await app.change('alice', { plan: 'premium' });
      await app.tokens.markStale({ sid: claimsOf(first.access).sid });
      const second = await exchanged(app, first);
      expectNoNewToken(await app.get('/me', second.access), { plan: 'premium' });
      await app.change('alice', { plan: 'enterprise' });
      // The one that was used, and the one that was not.
      for (const pair of [first, second]) {
        const { access } = await exchanged(app, pair);
        expectNoNewToken(await app.get('/me', access), { plan: 'enterprise' });
      }
    });

    it('that a reissue brings comes without a refresh token: the one at hand stays', async () => {
      const first = await logIn(app);
      await app.change('alice', { plan: 'premium' });
      const reply = await app.get('/me', first.access);
      expectNewToken(reply, { plan: 'premium' });
      expect(reply.body).not.toHaveProperty('refresh_token');
      await exchanged(app, first);
    });

    it('that the session has chosen survives: a tenant', async () => {
      const first = await logIn(app);
      const other = await logIn(app);
      const chosen = await app.post('/tenant', first.access, { tenant: 'globex' });
      expectNewToken(chosen, { tenant: 'globex' });
      await app.change('alice', { plan: 'premium' });
      // With the refresh token from before the choice, with its successor, and at its repetition.
      const second = await exchanged(app, first);
      const third = await exchanged(app, second);
      for (const { access } of [second, third, await exchanged(app, first)]) {
        expectNoNewToken(await app.get('/me', access), { tenant: 'globex', plan: 'premium' });
      }
      expect(claimsOf((await exchanged(app, other)).access)).not.toHaveProperty('tenant');
    });

    it('that the session has chosen last wins, and is what it is revoked by', async () => {
      const tenants = await start(platform, { denyList: { claims: ['tenant'] } }, store);
      const first = await logIn(tenants);
      const inAcme = await tenants.post('/tenant', first.access, { tenant: 'acme' });
      await tenants.post('/tenant', inAcme.token, { tenant: 'globex' });
      await tenants.tokens.revoke({ tenant: 'acme' });
      const second = await exchanged(tenants, first);
      expect(claimsOf(second.access)).toMatchObject({ tenant: 'globex' });
      await tenants.tokens.revoke({ tenant: 'globex' });
      await expectEnded(tenants, second);
    });
  });

  describe('the end of a session', () => {
    it('by log-out ends both tokens, and those of no other session', async () => {
      const [ended, other] = [await logIn(app), await logIn(app)];
      const successor = await exchanged(app, ended);
      expect((await app.post('/logout', ended.access)).body).toEqual({ loggedOut: true });
      await expectEnded(app, ended, successor);
      await expectAlive(app, other);
    });

    it.each<[string, (pair: Pair) => Parameters<TestApp['tokens']['revoke']>[0]]>([
      ['its refresh token', ({ refresh }) => ({ token: refresh })],
      ['its id', ({ access }) => ({ sid: claimsOf(access).sid })],
      ['its subject', () => ({ sub: 'alice' })],
    ])('by %s ends both tokens', async (_, target) => {
      const [pair, bob] = [await logIn(app), await logIn(app, 'bob')];
      await app.tokens.revoke(target(pair));
      await expectEnded(app, pair);
      await expectAlive(app, bob);
    });

    it('of the other devices leaves this one', async () => {
      const [here, there] = [await logIn(app), await logIn(app)];
      await app.tokens.revoke({ sub: 'alice', except: await app.tokens.verify(here.access) });
      await expectEnded(app, there);
      await expectAlive(app, here);
    });

    it('is also what the claims source says: null, and it stays over', async () => {
      const pair = await logIn(app);
      app.users.remove('alice');
      expectNoGrant(await exchange(app, pair.refresh));
      app.users.set('alice', { plan: 'free' });
      await expectEnded(app, pair);
    });
  });
});

describe.each(PLATFORMS)('The request for a refresh: %s', (platform) => {
  let app: TestApp;

  beforeEach(async () => {
    app = await start(platform);
  });
  afterEach(closeApps);

  const form = (fields: ConstructorParameters<typeof URLSearchParams>[0]) =>
    app.post(REFRESH_PATH, undefined, new URLSearchParams(fields));
  const json = (body: unknown) => app.post(REFRESH_PATH, undefined, body);

  it('is JSON or a form, with its grant type or without', async () => {
    const grant_type = 'refresh_token';
    const additions: Record<string, string>[] = [{}, { grant_type }, { grant_type, scope: 'a' }];
    for (const send of [form, json]) {
      for (const more of additions) {
        const { refresh } = await logIn(app);
        const pair = pairOf(await send({ refresh_token: refresh, ...more }));
        expect(claimsOf(pair.refresh).sid).toBe(claimsOf(refresh).sid);
        await expectAlive(app, pair);
      }
    }
  });

  it.each(['password', 'Refresh_Token', ' ', 0, 7, ['refresh_token'], {}])(
    'with the grant type %j is none, and uses nothing',
    async (grant_type) => {
      const pair = await logIn(app);
      const body = { grant_type, refresh_token: pair.refresh };
      expectNoGrant(await json(body), 'unsupported_grant_type');
      await expectAlive(app, pair);
    },
  );

  it.each([0, 7, true, [], ['x'], { $ne: '' }])(
    'with %j for a refresh token is none',
    async (refresh_token) => {
      expectNoGrant(await json({ refresh_token }), 'invalid_request');
      expectNoGrant(await json({ grant_type: 'refresh_token', refresh_token }), 'invalid_request');
    },
  );

  it('may name parameters without a value: they count as omitted (RFC 6749 §3.2)', async () => {
    for (const [send, grant_type] of [
      [form, ''],
      [json, ''],
      [json, null],
    ] as const) {
      const { refresh } = await logIn(app);
      pairOf(await send({ refresh_token: refresh, grant_type } as Record<string, string>));
    }
  });

  it('without a refresh token is none', async () => {
    expectNoGrant(await app.post(REFRESH_PATH), 'invalid_request');
    const empty = [{ refresh_token: '' }, { refresh_token: null, grant_type: '' }];
    for (const body of [{}, [], { grant_type: 'refresh_token' }, { refreshToken: 'x' }, ...empty]) {
      expectNoGrant(await json(body), 'invalid_request');
    }
    expectNoGrant(await form({ grant_type: 'refresh_token' }), 'invalid_request');
    expectNoGrant(await form({ refresh_token: '' }), 'invalid_request');
  });

  it('with two refresh tokens in one form is none, and uses neither', async () => {
    const [one, other] = [await logIn(app), await logIn(app)];
    const both: [string, string][] = [one, other].map(({ refresh }) => ['refresh_token', refresh]);
    expectNoGrant(await form(both), 'invalid_request');
    for (const pair of [one, other]) await expectAlive(app, pair);
  });

  it('carries it in the body: not in the query, a header or a cookie', async () => {
    const { refresh } = await logIn(app);
    const inQuery = `${REFRESH_PATH}?refresh_token=${refresh}`;
    expectNoGrant(await app.post(inQuery), 'invalid_request');
    expectNoGrant(await app.post(REFRESH_PATH, refresh), 'invalid_request');
    const cookie = `__Secure-refresh-token=${refresh}; refresh-token=${refresh}`;
    const reply = await app.request('POST', REFRESH_PATH, { headers: { cookie } });
    expectNoGrant(reply, 'invalid_request');
  });

  it('stands for itself: an access token beside it is not looked at', async () => {
    const old = await logIn(app);
    const revoked = await logIn(app);
    await app.tokens.revoke({ token: revoked.access });
    clock.advance('16m');
    let { refresh } = old;
    for (const beside of [old.access, revoked.access, 'not-a-token', '']) {
      const reply = await app.post(REFRESH_PATH, beside, { refresh_token: refresh });
      const pair = pairOf(reply);
      expect(claimsOf(pair.access).sid).toBe(claimsOf(old.access).sid);
      refresh = pair.refresh;
    }
  });

  it('is none with an access token alone, which is not worth more than its lifetime', async () => {
    const { access } = await logIn(app);
    expectNoGrant(await app.post(REFRESH_PATH, access), 'invalid_request');
    expectNoGrant(await app.post(REFRESH_PATH, access, {}), 'invalid_request');
    expectNoNewToken(await app.get('/me', access));
  });

  it('is no route for GET', async () => {
    const { access } = await logIn(app);
    expect((await app.get(REFRESH_PATH, access)).status).toBe(404);
  });

  it('with no other body than a refresh token’s is refused alike where refresh.accessTokens is on', async () => {
    const both = await start(platform, { refresh: { ...OPTIONS.refresh, accessTokens: true } });
    const post = (body: unknown) => both.post(REFRESH_PATH, undefined, body);
    expectNoGrant(await post({ grant_type: 'password' }), 'unsupported_grant_type');
    expectNoGrant(await post({ refresh_token: 7 }), 'invalid_request');
    expectRefusal(await post({}), 'TOKEN_MISSING');
  });

  it('may be an access token where refresh.accessTokens is on: it renews itself, and nothing else', async () => {
    const both = await start(platform, { refresh: { ...OPTIONS.refresh, accessTokens: true } });
    const { access, refresh } = await logIn(both);
    clock.advance('5m');
    const reply = await both.post(REFRESH_PATH, access);
    expect({ status: reply.status, ...reply.body }).toEqual({
      status: 200,
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
    });
    const renewed = claimsOf(reply.body.access_token);
    expect(renewed.exp).toBeGreaterThanOrEqual(claimsOf(access).exp + 300);
    clock.advance('16m');
    expectRefusal(await both.post(REFRESH_PATH, access), 'TOKEN_EXPIRED');
    // The refresh token beside it is as good as before, and beats what stands beside it.
    pairOf(await both.post(REFRESH_PATH, access, { refresh_token: refresh }));
  });

  it('a refresh token is no access token', async () => {
    const { refresh } = await logIn(app);
    expectRefusal(await app.get('/me', refresh), 'TOKEN_INVALID');
    expectRefusal(await app.post('/plan', refresh, { plan: 'premium' }), 'TOKEN_INVALID');
    expectNoGrant(await exchange(app, (await logIn(app)).access));
  });

  it('a refresh token names nobody to a service that checks no more than signatures', async () => {
    const { refresh } = await logIn(app);
    const names = Object.keys(claimsOf(refresh));
    expect(names.filter((name) => ['sub', 'aud', 'plan', 'role'].includes(name))).toEqual([]);
  });

  it('a refresh token of other people is none here', async () => {
    const secret = 'another service signs with this, and this one does not';
    const other = await start(platform, { keys: { algorithm: 'HS256', secret } });
    expectNoGrant(await exchange(app, (await logIn(other)).refresh));
    const { refresh } = await logIn(app);
    for (const typ of ['at+jwt', 'next+jwt', 'JWT', undefined]) {
      const forged = forge({ header: { typ }, payload: claimsOf(refresh) });
      expectNoGrant(await exchange(app, forged));
    }
    // The forger's hand is steady: with the right type it is the token itself.
    const copy = forge({ header: { typ: 'rt+jwt' }, payload: claimsOf(refresh) });
    pairOf(await exchange(app, copy));
  });
});

/** All that a client can tell one answer from another by, in the order in which it came. */
async function wholeAnswer(app: TestApp, refresh_token: string): Promise<unknown> {
  const response = await fetch(app.url + REFRESH_PATH, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ refresh_token }),
  });
  const headers = [...response.headers].filter(([name]) => name !== 'date');
  return { status: response.status, headers, text: await response.text() };
}
