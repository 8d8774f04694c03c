import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FormerCookieOptions, JwtStateOptions } from 'nestjs-jwt-state';
import { expectNoGrant, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { cookiesOf, REFRESH_PATH } from '../support/refresh-client.js';
import { SessionController } from '../support/session.controller.js';
import {
  claimsOf,
  clock,
  closeApps,
  PLATFORMS,
  type Platform,
  type Reply,
  startApp,
  type TestApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

/*
 * A cookie whose domain or path was changed in production: browsers keep the former one beside the new one,
 * and send both, under one name and in an order that says nothing.
 */

const ACCESS = 'token';
const REFRESH = '__Secure-refresh-token';
const FORMER: FormerCookieOptions[] = [{ domain: 'shop.example' }];

interface Settings {
  former?: FormerCookieOptions[];
  store?: TestStore;
}

const start = (platform: Platform, { former = FORMER, store }: Settings = {}) =>
  startApp({
    platform,
    controllers: [SessionController],
    ...(store && { store }),
    options: {
      accessToken: { expiresIn: '15m' },
      delivery: { cookie: { name: ACCESS, former } },
      refresh: { tokens: { expiresIn: '1h', cookie: { former } } },
    },
  });

interface Tokens {
  access: string;
  refresh: string;
}

function tokensIn(reply: Reply): Tokens {
  const values = new Map<string, string>();
  for (const line of reply.headers.getSetCookie()) {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    values.set(name, value);
  }
  return { access: values.get(ACCESS) ?? '', refresh: values.get(REFRESH) ?? '' };
}

async function logIn(app: TestApp, user = 'alice'): Promise<Tokens> {
  return tokensIn(await app.post('/login-by-cookies', undefined, { user }));
}

const cookies = (name: string, tokens: string[]) => ({
  cookie: tokens.map((token) => `${name}=${token}`).join('; '),
});
const me = (app: TestApp, ...tokens: string[]) =>
  app.get('/me', undefined, cookies(ACCESS, tokens));
const refresh = (app: TestApp, ...tokens: string[]) =>
  app.request('POST', REFRESH_PATH, { headers: cookies(REFRESH, tokens) });

const bothWays = <T>(one: T, other: T) => [
  [one, other],
  [other, one],
];
const withOtherSignature = (token: string) =>
  `${token.slice(0, token.lastIndexOf('.'))}.${'A'.repeat(43)}`;

/** The cookies that a response deletes, as `name domain path`. */
function deletedBy({ headers }: Reply): string[] {
  const gone = headers.getSetCookie().filter((line) => line.includes('Max-Age=0'));
  return gone.map((line) => {
    const attribute = (name: string) => new RegExp(`; ${name}=([^;]*)`).exec(line)?.[1] ?? '-';
    return `${line.slice(0, line.indexOf('='))} ${attribute('Domain')} ${attribute('Path')}`;
  });
}
const FORMER_ACCESS = `${ACCESS} shop.example /`;
const FORMER_REFRESH = `${REFRESH} shop.example ${REFRESH_PATH}`;

describe.each(PLATFORMS)('Access tokens in two cookies of one name: %s', (platform) => {
  let store: TestStore;
  let app: TestApp;

  beforeEach(async () => {
    store = TestStore.create('memory');
    app = await start(platform, { store });
  });
  afterEach(closeApps);

  it('of one session: the newest counts, wherever it stands', async () => {
    const { access } = await logIn(app);
    await app.change('alice', { plan: 'premium' });
    const newer = tokensIn(await me(app, access)).access;
    clock.advance('31s');
    expectRefusal(await me(app, access), 'TOKEN_SUPERSEDED');
    for (const tokens of bothWays(access, newer)) {
      expectNoNewToken(await me(app, ...tokens), { jti: claimsOf(newer).jti });
    }
  });

  it('of one session: a new one replaces what is stale, and the former scope is deleted', async () => {
    const { access } = await logIn(app);
    await app.change('alice', { plan: 'premium' });
    const newer = tokensIn(await me(app, access)).access;
    await app.change('alice', { plan: 'free' });
    const reply = await me(app, access, newer);
    expect(reply.body).toMatchObject({ plan: 'free' });
    expect(claimsOf(tokensIn(reply).access)).toMatchObject({ plan: 'free' });
    expect(deletedBy(reply)).toEqual([FORMER_ACCESS]);
  });

  it('that are refused do not count beside a valid one', async () => {
    const expired = (await logIn(app)).access;
    clock.advance('16m');
    const pair = await logIn(app);
    const other = (await logIn(app, 'bob')).access;
    for (const one of [expired, withOtherSignature(other), 'not-a-token', pair.refresh]) {
      for (const tokens of bothWays(one, pair.access)) {
        expectNoNewToken(await me(app, ...tokens), { sub: 'alice' });
      }
    }
    expectNoNewToken(await me(app, expired, 'x', pair.access, withOtherSignature(other)));
  });

  it('that are all refused are answered as the expired one, which can be refreshed', async () => {
    const { access } = await logIn(app);
    clock.advance('16m');
    for (const tokens of bothWays(access, 'not-a-token')) {
      expectRefusal(await me(app, ...tokens), 'TOKEN_EXPIRED');
    }
    expectRefusal(await me(app, 'not-a-token', 'nor this'), 'TOKEN_INVALID');
  });

  it('of a session that has ended do not count beside one that lives', async () => {
    const [ended, other] = [await logIn(app), await logIn(app)];
    await app.tokens.revoke({ token: ended.access });
    for (const tokens of bothWays(ended.access, other.access)) {
      expectNoNewToken(await me(app, ...tokens), { sid: claimsOf(other.access).sid });
    }
    await app.tokens.revoke({ token: other.access });
    expectRefusal(await me(app, ended.access, other.access), 'TOKEN_REVOKED');
  });

  it('of two sessions are refused, and the former scope is deleted: the next request has one', async () => {
    const [alice, bob] = [await logIn(app), await logIn(app, 'bob')];
    for (const tokens of bothWays(alice.access, bob.access)) {
      const reply = await me(app, ...tokens);
      expectRefusal(reply, 'INVALID_REQUEST');
      expect(deletedBy(reply)).toEqual([FORMER_ACCESS]);
    }
    // Nothing is deleted that no former scope names: the user's own may be the one that goes.
    const plain = await start(platform, { former: [] });
    const reply = await me(plain, (await logIn(plain)).access, (await logIn(plain)).access);
    expectRefusal(reply, 'INVALID_REQUEST');
    expect(reply.headers.getSetCookie()).toEqual([]);
  });

  it('of two sessions, when the store does not answer: nobody knows which one lives', async () => {
    const [one, other] = [await logIn(app), await logIn(app)];
    store.fail();
    const reply = await me(app, one.access, other.access);
    expectRefusal(reply, 'DENY_LIST_UNAVAILABLE');
    expect(reply.headers.getSetCookie()).toEqual([]);
  });

  it('and more of them than anybody has changed scopes are refused unseen', async () => {
    const { access } = await logIn(app);
    expectRefusal(await me(app, 'a', 'b', 'c', 'd', access), 'INVALID_REQUEST');
  });

  it('beside a token in the header: the one that counts must be the same', async () => {
    const { access } = await logIn(app);
    await app.change('alice', { plan: 'premium' });
    const newer = tokensIn(await me(app, access)).access;
    const both = cookies(ACCESS, [access, newer]);
    expectNoNewToken(await app.get('/me', newer, both), { plan: 'premium' });
    expectRefusal(await app.get('/me', access, both), 'INVALID_REQUEST');
  });
});

describe.each(PLATFORMS)('Refresh tokens in two cookies of one name: %s', (platform) => {
  let store: TestStore;
  let app: TestApp;

  beforeEach(async () => {
    store = TestStore.create('memory');
    app = await start(platform, { store });
  });
  afterEach(closeApps);

  function expectRefreshed(reply: Reply, session: string): Tokens {
    expect(reply.status).toBe(200);
    const tokens = tokensIn(reply);
    expect(claimsOf(tokens.refresh).sid).toBe(claimsOf(session).sid);
    return tokens;
  }

  it('of one session: the newest is used, long after the older one was', async () => {
    const first = await logIn(app);
    let newest = expectRefreshed(await refresh(app, first.refresh), first.access).refresh;
    for (const atEnd of [true, false]) {
      clock.advance('10m');
      const tokens = atEnd ? [first.refresh, newest] : [newest, first.refresh];
      const reply = await refresh(app, ...tokens);
      newest = expectRefreshed(reply, first.access).refresh;
      expect(deletedBy(reply).sort()).toEqual([FORMER_REFRESH, FORMER_ACCESS].sort());
    }
  });

  it('that are refused, or of a session that has ended, do not count', async () => {
    const expired = await logIn(app);
    clock.advance('61m');
    const ended = await logIn(app);
    await app.tokens.revoke({ token: ended.access });
    const pair = await logIn(app);
    let current = pair.refresh;
    const dead = [expired.refresh, ended.refresh, withOtherSignature(ended.refresh), 'x'];
    for (const one of [...dead, ended.access]) {
      current = expectRefreshed(await refresh(app, one, current), pair.access).refresh;
      current = expectRefreshed(await refresh(app, current, one), pair.access).refresh;
    }
    expectNoGrant(await refresh(app, expired.refresh, ended.refresh));
  });

  it('of two sessions are refused, neither is used, and the former scope is deleted', async () => {
    const [alice, bob] = [await logIn(app), await logIn(app, 'bob')];
    for (const tokens of bothWays(alice.refresh, bob.refresh)) {
      const reply = await refresh(app, ...tokens);
      expectNoGrant(reply, 'invalid_request');
      expect(deletedBy(reply)).toEqual([FORMER_REFRESH]);
    }
    expectRefreshed(await refresh(app, alice.refresh), alice.access);
    expectRefreshed(await refresh(app, bob.refresh), bob.access);
  });

  it('of two sessions, when the store does not answer', async () => {
    const [one, other] = [await logIn(app), await logIn(app)];
    store.fail();
    expectRefusal(await refresh(app, one.refresh, other.refresh), 'DENY_LIST_UNAVAILABLE');
  });

  it('beside one in the body: the one that counts must be the same', async () => {
    const { refresh: first } = await logIn(app);
    const second = tokensIn(await refresh(app, first)).refresh;
    const post = (refresh_token: string) =>
      app.request('POST', REFRESH_PATH, {
        headers: cookies(REFRESH, [first, second]),
        body: { refresh_token },
      });
    expectNoGrant(await post(first), 'invalid_request');
    expect((await post(second)).status).toBe(200);
  });

  it('another refusal deletes nothing: a page of another host could cause it', async () => {
    const { refresh: token } = await logIn(app);
    const reply = await app.request('POST', REFRESH_PATH, {
      headers: cookies(REFRESH, [token]),
      body: { grant_type: 'password' },
    });
    expectNoGrant(reply, 'unsupported_grant_type');
    expect(reply.headers.getSetCookie()).toEqual([]);
  });
});

describe.each(PLATFORMS)('Former scopes: %s', (platform) => {
  afterEach(closeApps);

  it('are deleted before each new cookie is set, and at the log-out', async () => {
    const former = [{ domain: 'shop.example' }, { name: 'jwt', path: '/api', partitioned: true }];
    const app = await start(platform, { former });
    const login = await app.post('/login-by-cookies', undefined, { user: 'alice' });
    const partitioned = 'jwt=; Max-Age=0; Path=/api; HttpOnly; Secure; Partitioned;';
    expect(login.headers.getSetCookie()).toEqual([
      `${ACCESS}=; Max-Age=0; Domain=shop.example; Path=/; HttpOnly; Secure; SameSite=Lax`,
      expect.stringContaining(partitioned),
      expect.stringMatching(/^token=eyJ/),
      `${REFRESH}=; Max-Age=0; Domain=shop.example; Path=${REFRESH_PATH}; HttpOnly; Secure; SameSite=Strict`,
      expect.stringContaining(partitioned),
      expect.stringMatching(/^__Secure-refresh-token=eyJ/),
    ]);
    const { access } = tokensIn(login);
    const headers = cookies(ACCESS, [access]);
    expect(deletedBy(await app.request('POST', '/leave', { headers }))).toEqual([
      FORMER_ACCESS,
      'jwt - /api',
      `${ACCESS} - /`,
      FORMER_REFRESH,
      'jwt - /api',
      `${REFRESH} - ${REFRESH_PATH}`,
    ]);
  });

  it('work without a deny list', async () => {
    const app = await startApp({
      platform,
      account: false,
      options: {
        denyList: false,
        delivery: { cookie: { name: ACCESS, former: FORMER } },
      },
    });
    const [one, other] = [await app.logIn('alice'), await app.logIn('bob')];
    const reply = await me(app, one, other);
    expectRefusal(reply, 'INVALID_REQUEST');
    expect(deletedBy(reply)).toEqual([FORMER_ACCESS]);
    expectNoNewToken(await me(app, 'not-a-token', one), { sub: 'alice' });
  });
});

describe.each(PLATFORMS)('How long cookies live: %s', (platform) => {
  afterEach(closeApps);

  const inCookies = (more: object, options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      controllers: [SessionController],
      options: {
        accessToken: { expiresIn: '15m' },
        ...options,
        delivery: { cookie: { name: ACCESS, ...more } },
        refresh: { tokens: { expiresIn: '7d', cookie: more } },
      },
    });
  const lives = (reply: Reply) =>
    Object.fromEntries(
      Object.entries(cookiesOf(reply)).map(([name, { attributes }]) => [
        name === ACCESS ? 'access' : 'refresh',
        attributes['Max-Age'] === undefined ? undefined : Number(attributes['Max-Age']),
      ]),
    );
  const logInBy = (app: TestApp, how: object) =>
    app.post('/login-by-cookies', undefined, { user: 'alice', ...how });
  const PERSISTENT = {
    access: expect.closeTo(900, -1),
    refresh: expect.closeTo(7 * 86_400, -1),
  };
  const UNTIL_CLOSED = { access: undefined, refresh: undefined };

  it.each([
    ['by default: as long as their tokens', {}, {}, PERSISTENT],
    ['persistent: false: until the browser closes', { persistent: false }, {}, UNTIL_CLOSED],
    ['as a log-in says', {}, { persistent: false }, UNTIL_CLOSED],
    [
      'as a log-in says, against the options',
      { persistent: false },
      { persistent: true },
      PERSISTENT,
    ],
  ])('%s, at log-in, reissue and refresh', async (_, cookie, how, expected) => {
    const app = await inCookies(cookie);
    const login = await logInBy(app, how);
    expect(lives(login)).toEqual(expected);
    const { access, refresh: token } = tokensIn(login);
    await app.change('alice', { plan: 'premium' });
    expect(lives(await me(app, access))).toEqual({ access: expected.access });
    let reply = await refresh(app, token);
    expect(lives(reply)).toEqual(expected);
    reply = await refresh(app, tokensIn(reply).refresh);
    expect(lives(reply)).toEqual(expected);
    const headers = cookies(ACCESS, [tokensIn(reply).access]);
    expect(lives(await app.request('POST', '/leave', { headers }))).toEqual({
      access: 0,
      refresh: 0,
    });
  });

  it('a log-in may end its session earlier, however often it is refreshed', async () => {
    const app = await inCookies({}, { session: { maxAge: '30d' } });
    const login = await logInBy(app, { maxAge: '1h' });
    expect(lives(login)).toEqual({ access: PERSISTENT.access, refresh: expect.closeTo(3_600, -1) });
    const { auth_time, seen } = claimsOf(tokensIn(login).access);
    expect(seen.login).toEqual({ end: auth_time + 3_600 });
    clock.advance('50m');
    const reply = await refresh(app, tokensIn(login).refresh);
    expect(lives(reply)).toEqual({
      access: expect.closeTo(600, -1),
      refresh: expect.closeTo(600, -1),
    });
    const { access, refresh: last } = tokensIn(reply);
    await app.change('alice', { plan: 'premium' });
    const reissued = tokensIn(await me(app, access)).access;
    expect(claimsOf(reissued)).toMatchObject({
      exp: auth_time + 3_600,
      seen: { login: seen.login },
    });
    clock.advance('11m');
    expectNoGrant(await refresh(app, last));
    expectRefusal(await me(app, reissued), 'TOKEN_EXPIRED');
  });

  it('a log-in cannot outlive session.maxAge', async () => {
    const app = await inCookies({}, { session: { maxAge: '2h' } });
    const { refresh: age } = lives(await logInBy(app, { maxAge: '30d' }));
    expect(age).toEqual(expect.closeTo(7_200, -1));
  });

  it('a log-in that is told nonsense makes no token', async () => {
    const app = await inCookies({});
    for (const how of [
      { maxAge: 0 },
      { maxAge: '900' },
      { persistent: 'yes' },
      { remember: true },
    ]) {
      await expect(app.tokens.issue('alice', {}, how as never)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('issue()'),
      });
    }
  });

  it('partitioned: a cookie for each site that embeds this one', async () => {
    const app = await inCookies({ partitioned: true, sameSite: 'none' });
    const login = cookiesOf(await logInBy(app, {}));
    const partitioned = { Partitioned: true, Secure: true, SameSite: 'None' };
    expect(login).toMatchObject({
      [ACCESS]: { attributes: partitioned },
      [REFRESH]: { attributes: partitioned },
    });
    const headers = cookies(ACCESS, [login[ACCESS]?.value ?? '']);
    const left = cookiesOf(await app.request('POST', '/leave', { headers }));
    expect(left).toMatchObject({ [ACCESS]: { value: '', attributes: partitioned } });
  });
});
