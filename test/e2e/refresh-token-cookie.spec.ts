import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { JwtStateOptions, RefreshCookieOptions } from 'nestjs-jwt-state';
import { expectNoGrant, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { cookiesOf, exchange, pairOf, REFRESH_PATH } from '../support/refresh-client.js';
import { SessionController } from '../support/session.controller.js';
import {
  claimsOf,
  clock,
  closeApps,
  MATRIX,
  PLATFORMS,
  type Platform,
  type Reply,
  startApp,
  type TestApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

const NAME = '__Secure-refresh-token';
const ACCESS_NAME = '__Host-token';

interface Settings {
  cookie?: RefreshCookieOptions | true;
  path?: string;
  delivery?: JwtStateOptions['delivery'];
  prepare?: (app: INestApplication) => void;
  store?: TestStore;
}

const start = (platform: Platform, settings: Settings = {}) => {
  const { cookie = true, path, delivery, prepare, store = TestStore.create('memory') } = settings;
  return startApp({
    platform,
    store,
    controllers: [SessionController],
    ...(prepare && { prepare }),
    options: {
      accessToken: { expiresIn: '15m' },
      refresh: { ...(path !== undefined && { path }), tokens: { expiresIn: '1h', cookie } },
      ...(delivery && { delivery }),
    },
  });
};

const logIn = (app: TestApp) => app.post('/login', undefined, { user: 'alice' });
/** The refresh token that a response sets as a cookie, and no other cookie. */
function refreshOf(reply: Reply, name = NAME): string {
  const cookies = cookiesOf(reply);
  expect(Object.keys(cookies)).toEqual([name]);
  return cookies[name]?.value ?? '';
}
/** A log-in: what the browser's scripts have, and what only its cookie jar has. */
async function browser(app: TestApp): Promise<{ access: string; refresh: string }> {
  const reply = await logIn(app);
  return { access: reply.body.access_token, refresh: refreshOf(reply) };
}

/** A `fetch` of the page: no body, and the cookie that the browser adds. */
const send = (app: TestApp, cookie: string, headers: Record<string, string> = {}) =>
  app.request('POST', REFRESH_PATH, { headers: { cookie, ...headers } });
const byCookie = (app: TestApp, refresh: string) => send(app, `${NAME}=${refresh}`);

/** A new access token for scripts, and a new refresh token where they cannot see it. */
function expectExchanged(reply: Reply): { access: string; refresh: string } {
  expect({ status: reply.status, ...reply.body }).toEqual({
    status: 200,
    access_token: expect.stringMatching(/^eyJ/),
    token_type: 'Bearer',
    expires_in: expect.any(Number),
  });
  expect(reply.headers.get('cache-control')).toBe('no-store');
  return { access: reply.body.access_token, refresh: refreshOf(reply) };
}

function expectDeleted(reply: Reply): void {
  expect(cookiesOf(reply)[NAME]).toEqual({
    value: '',
    attributes: {
      'Max-Age': '0',
      Path: REFRESH_PATH,
      HttpOnly: true,
      Secure: true,
      SameSite: 'Strict',
    },
  });
}

describe.each(MATRIX)('A refresh token in a cookie: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let app: TestApp;

  beforeEach(async () => {
    store = TestStore.create(kind);
    app = await start(platform, { store });
  });
  afterEach(closeApps);

  it('is exchanged for the next, which comes in the cookie, too', async () => {
    const first = await browser(app);
    const second = expectExchanged(await byCookie(app, first.refresh));
    expect(claimsOf(second.refresh).sid).toBe(claimsOf(first.access).sid);
    expect(claimsOf(second.refresh).jti).not.toBe(claimsOf(first.refresh).jti);
    expectNoNewToken(await app.get('/me', second.access), { sub: 'alice' });
    expectExchanged(await byCookie(app, second.refresh));
  });

  it('leads to its one successor, when two tabs use it at once', async () => {
    const { refresh } = await browser(app);
    const replies = await Promise.all(Array.from({ length: 10 }, () => byCookie(app, refresh)));
    const successors = replies.map((reply) => claimsOf(expectExchanged(reply).refresh).jti);
    expect(new Set(successors).size).toBe(1);
  });

  it('that is dead is not deleted: a log-in in another tab may just have replaced it', async () => {
    const { access, refresh } = await browser(app);
    await app.tokens.revoke({ token: access });
    const expiring = await browser(app);
    for (const dead of [refresh, access, 'not-a-token']) {
      const reply = await byCookie(app, dead);
      expectNoGrant(reply);
      expect(reply.headers.getSetCookie()).toEqual([]);
    }
    clock.advance('61m');
    const reply = await byCookie(app, expiring.refresh);
    expectNoGrant(reply);
    expect(reply.headers.getSetCookie()).toEqual([]);
  });

  it('that may be alive is not: a store that does not answer, a source that throws', async () => {
    const { refresh } = await browser(app);
    store.fail();
    const unread = await byCookie(app, refresh);
    expectRefusal(unread, 'DENY_LIST_UNAVAILABLE');
    store.recover();
    app.users.fail('throws');
    const unclaimed = await byCookie(app, refresh);
    expectRefusal(unclaimed, 'CLAIMS_UNAVAILABLE');
    app.users.recover();
    expect([unread, unclaimed].flatMap(({ headers }) => headers.getSetCookie())).toEqual([]);
    expectExchanged(await byCookie(app, refresh));
  });

  it('is not looked at by other routes, which need none', async () => {
    const { access, refresh } = await browser(app);
    const cookie = { cookie: `${NAME}=${refresh}` };
    expectRefusal(await app.get('/me', undefined, cookie), 'TOKEN_MISSING');
    for (const headers of [{}, cookie, { cookie: `${NAME}=not-a-token` }]) {
      const reply = await app.get('/me', access, headers);
      expectNoNewToken(reply);
      expect(reply.headers.getSetCookie()).toEqual([]);
    }
  });

  it('stays as it is when the access token is reissued', async () => {
    const { access, refresh } = await browser(app);
    await app.change('alice', { plan: 'premium' });
    const reply = await app.get('/me', access, { cookie: `${NAME}=${refresh}` });
    expect(claimsOf(reply.token)).toMatchObject({ plan: 'premium' });
    expect(reply.headers.getSetCookie()).toEqual([]);
    expectExchanged(await byCookie(app, refresh));
  });

  it('is deleted at the log-out, and dead though the browser keeps it', async () => {
    const { access, refresh } = await browser(app);
    const left = await app.post('/leave', access);
    expect({ status: left.status, ...left.body }).toEqual({ status: 200, left: true });
    expectDeleted(left);
    expectNoGrant(await byCookie(app, refresh));
  });
});

describe.each(PLATFORMS)('The cookie of a refresh token: %s', (platform) => {
  afterEach(closeApps);

  const secure = {
    'Max-Age': expect.stringMatching(/^(3600|3599)$/),
    HttpOnly: true,
    Secure: true,
    SameSite: 'Strict',
  };
  const { Secure, ...insecure } = secure;
  const underApi = (nest: INestApplication) => void nest.setGlobalPrefix('api');
  it.each<[string, Settings, string, string, object]>([
    ['as it is', {}, '', NAME, { ...secure, Path: REFRESH_PATH }],
    [
      'under a global prefix',
      { prepare: underApi },
      '/api',
      NAME,
      { ...secure, Path: `/api${REFRESH_PATH}` },
    ],
    ['of another route', { path: 'token' }, '', NAME, { ...secure, Path: '/token' }],
    [
      'without TLS, for local development',
      { cookie: { secure: false } },
      '',
      'refresh-token',
      { ...insecure, Path: REFRESH_PATH },
    ],
    [
      'as configured',
      { cookie: { name: 'r', path: '/a', domain: 'shop.example', sameSite: 'lax' } },
      '',
      'r',
      { ...secure, Path: '/a', Domain: 'shop.example', SameSite: 'Lax' },
    ],
  ])('%s: at log-in, exchange and log-out', async (_, settings, prefix, name, attributes) => {
    const app = await start(platform, settings);
    const login = await app.post(`${prefix}/login`, undefined, { user: 'alice' });
    expect(login.headers.get('cache-control')).toBe('no-store');
    expect(Object.keys(login.body)).toEqual(['access_token', 'token_type', 'expires_in']);
    expect(cookiesOf(login)).toEqual({ [name]: { value: expect.any(String), attributes } });
    const first = refreshOf(login, name);

    const route = `${prefix}/${settings.path ?? 'auth/refresh-token'}`;
    const headers = { cookie: `${name}=${first}` };
    const reply = await app.request('POST', route, { headers });
    expect(reply.status).toBe(200);
    expect(reply.body).not.toHaveProperty('refresh_token');
    expect(cookiesOf(reply)).toEqual({ [name]: { value: expect.any(String), attributes } });
    expect(refreshOf(reply, name)).not.toBe(first);

    const left = await app.post(`${prefix}/leave`, reply.body.access_token);
    const deletion = { value: '', attributes: { ...attributes, 'Max-Age': '0' } };
    expect(cookiesOf(left)).toEqual({ [name]: deletion });
  });

  it('lives no longer than the session may', async () => {
    const app = await startApp({
      platform,
      controllers: [SessionController],
      options: { session: { maxAge: '90m' }, refresh: { tokens: { cookie: true } } },
    });
    const { attributes } = cookiesOf(await logIn(app))[NAME] ?? {};
    expect(attributes).toMatchObject({ 'Max-Age': expect.stringMatching(/^(5400|5399)$/) });
  });

  describe('beside a refresh token in the body', () => {
    it('of clients without cookies: the next one comes there, and in no cookie', async () => {
      const app = await start(platform);
      const { refreshToken } = await app.logInFor('alice');
      const reply = await exchange(app, refreshToken);
      const { refresh } = pairOf(reply);
      expect(reply.headers.getSetCookie()).toEqual([]);
      pairOf(await exchange(app, refresh));
    });

    it('that is dead, is not deleted by it', async () => {
      const app = await start(platform);
      const reply = await exchange(app, 'not-a-token');
      expectNoGrant(reply);
      expect(reply.headers.getSetCookie()).toEqual([]);
    });

    it('that is empty counts as omitted, and so does an empty grant type (RFC 6749 §3.2)', async () => {
      const app = await start(platform);
      let { refresh } = await browser(app);
      const empty = { refresh_token: '', grant_type: '' };
      for (const body of [empty, new URLSearchParams(empty), { refresh_token: null }]) {
        const headers = { cookie: `${NAME}=${refresh}` };
        refresh = expectExchanged(
          await app.request('POST', REFRESH_PATH, { headers, body }),
        ).refresh;
      }
    });

    it('is one credential if they are the same, and ambiguous if they differ: 400', async () => {
      const app = await start(platform);
      const [one, other] = [await browser(app), await browser(app)];
      const both = (refresh_token: string) =>
        app.request('POST', REFRESH_PATH, {
          headers: { cookie: `${NAME}=${one.refresh}` },
          body: { refresh_token },
        });
      expectNoGrant(await both(other.refresh), 'invalid_request');
      expectNoGrant(await both('not-a-token'), 'invalid_request');
      // Neither was used.
      expectExchanged(await byCookie(app, other.refresh));
      pairOf(await both(one.refresh));
    });
  });

  it('of another value beside it, planted by another host of the site, makes it ambiguous: 400', async () => {
    const app = await start(platform);
    const [one, other] = [await browser(app), await browser(app)];
    for (const pair of [
      [one, other],
      [other, one],
    ]) {
      const reply = await send(app, pair.map(({ refresh }) => `${NAME}=${refresh}`).join('; '));
      expectNoGrant(reply, 'invalid_request');
    }
    const twice = `${NAME}=${one.refresh}; theme=dark; ${NAME}=${one.refresh}`;
    expectExchanged(await send(app, twice));
    expectExchanged(await byCookie(app, other.refresh));
  });

  it('beside an expired access token is enough', async () => {
    const app = await start(platform);
    const { access, refresh } = await browser(app);
    clock.advance('16m');
    const headers = { cookie: `${NAME}=${refresh}` };
    expectExchanged(await app.request('POST', REFRESH_PATH, { token: access, headers }));
  });

  describe('with delivery.cookie as well', () => {
    let app: TestApp;
    let jar: Record<string, string>;
    const keep = (reply: Reply) => {
      for (const [name, { value }] of Object.entries(cookiesOf(reply))) jar[name] = value;
    };
    const cookie = (...names: string[]) => names.map((name) => `${name}=${jar[name]}`).join('; ');

    beforeEach(async () => {
      app = await start(platform, { delivery: { cookie: true } });
      jar = {};
      const login = await app.post('/login-by-cookies', undefined, { user: 'alice' });
      expect(login.status).toBe(204);
      keep(login);
    });

    it('both tokens come in cookies, and neither where scripts can read it', async () => {
      const [access, refresh] = [jar[ACCESS_NAME], jar[NAME]];
      const reply = await send(app, cookie(ACCESS_NAME, NAME));
      expect({ status: reply.status, ...reply.body }).toEqual({
        status: 200,
        token_type: 'Bearer',
        expires_in: expect.any(Number),
      });
      expect(reply.headers.get('cache-control')).toBe('no-store');
      expect(reply.token).toBeUndefined();
      expect(Object.keys(cookiesOf(reply)).sort()).toEqual([ACCESS_NAME, NAME]);
      keep(reply);
      expect([jar[ACCESS_NAME], jar[NAME]]).not.toEqual([access, refresh]);
      const me = await app.get('/me', undefined, { cookie: cookie(ACCESS_NAME) });
      expectNoNewToken(me, { jti: claimsOf(jar[ACCESS_NAME]).jti });
      expect(claimsOf(jar[NAME]).jti).not.toBe(claimsOf(refresh).jti);
    });

    it('the refresh token is enough when the other cookie has gone, expired or is dead', async () => {
      clock.advance('16m');
      for (const beside of ['', `${ACCESS_NAME}=not-a-token; `, `${cookie(ACCESS_NAME)}; `]) {
        const reply = await send(app, `${beside}${cookie(NAME)}`);
        expect(reply.status).toBe(200);
        keep(reply);
      }
      expectNoNewToken(await app.get('/me', undefined, { cookie: cookie(ACCESS_NAME) }));
    });

    it('a log-in that returns the issued token shows neither', async () => {
      const login = await logIn(app);
      expect(login.body).toEqual({ token_type: 'Bearer', expires_in: expect.any(Number) });
      expect(Object.keys(cookiesOf(login)).sort()).toEqual([ACCESS_NAME, NAME]);
    });

    it('the log-out deletes both', async () => {
      const headers = { cookie: cookie(ACCESS_NAME) };
      const left = cookiesOf(await app.request('POST', '/leave', { headers }));
      expect(left).toMatchObject({
        [ACCESS_NAME]: { value: '', attributes: { 'Max-Age': '0', Path: '/' } },
        [NAME]: { value: '', attributes: { 'Max-Age': '0', Path: REFRESH_PATH } },
      });
    });

    it('a form with a refresh token of its sender plants no session in the browser', async () => {
      const forgers = await app.logInFor('bob');
      const reply = await forgedForm(app, { refresh_token: forgers.refreshToken });
      pairOf(reply);
      expect(reply.headers.getSetCookie()).toEqual([]);
    });
  });

  describe('and a forged request', () => {
    it('does not get it from the browser, unless it comes from the same site', async () => {
      const { attributes } = cookiesOf(await logIn(await start(platform)))[NAME] ?? {};
      expect(attributes).toMatchObject({ SameSite: 'Strict', HttpOnly: true, Secure: true });
    });

    it('without it is answered with nothing', async () => {
      const app = await start(platform);
      const reply = await forgedForm(app, {});
      expectNoGrant(reply, 'invalid_request');
      expect(reply.headers.getSetCookie()).toEqual([]);
    });

    it('with it, from another host of the site, may not read the answer, and takes nothing', async () => {
      const app = await start(platform);
      const { refresh } = await browser(app);
      const reply = await forgedForm(app, {}, `${NAME}=${refresh}`);
      const next = expectExchanged(reply);
      const names = [...reply.headers.keys()];
      expect(names.filter((name) => name.startsWith('access-control-allow'))).toEqual([]);
      // The refresh token is where nobody's scripts can read it, not even the page's own.
      const readable = [...reply.headers].filter(([name]) => name !== 'set-cookie');
      expect(JSON.stringify([readable, reply.body])).not.toContain(next.refresh.split('.')[2]);
      // The browser goes on with what it was sent; a tab that had sent the old one, too.
      expectExchanged(await byCookie(app, next.refresh));
      expectExchanged(await byCookie(app, refresh));
    });

    it('may read it where CORS allows its origin, and no other: so allow whom you trust', async () => {
      const origin = 'https://app.shop.example';
      const prepare = (nest: INestApplication) =>
        nest.enableCors({ origin: [origin], credentials: true });
      const app = await start(platform, { prepare });
      let { refresh } = await browser(app);
      const allowed: (string | null)[] = [];
      for (const sender of ['https://evil.example', origin]) {
        const reply = await send(app, `${NAME}=${refresh}`, { origin: sender });
        refresh = expectExchanged(reply).refresh;
        allowed.push(reply.headers.get('access-control-allow-origin'));
      }
      expect(allowed).toEqual([null, origin]);
    });

    it('with a refresh token of its sender changes no cookie', async () => {
      const app = await start(platform);
      const { refresh } = await browser(app);
      const forgers = await app.logInFor('bob');
      const fields = { refresh_token: forgers.refreshToken };
      const beside = await forgedForm(app, fields, `${NAME}=${refresh}`);
      expectNoGrant(beside, 'invalid_request');
      const alone = await forgedForm(app, fields);
      expect(alone.status).toBe(200);
      for (const { headers } of [beside, alone]) expect(headers.getSetCookie()).toEqual([]);
      expectExchanged(await byCookie(app, refresh));
    });
  });
});

/**
 * What a page of another origin can send without asking (no preflight): a form. A browser adds the
 * cookie if that is another host of the same site.
 */
function forgedForm(app: TestApp, fields: Record<string, string>, cookie?: string): Promise<Reply> {
  const headers: Record<string, string> =
    cookie === undefined
      ? { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
      : { origin: 'https://blog.shop.example', 'sec-fetch-site': 'same-site', cookie };
  return app.request('POST', REFRESH_PATH, { headers, body: new URLSearchParams(fields) });
}
