import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  type INestApplication,
  RequestMethod,
  type Type,
  VERSION_NEUTRAL,
  type VersioningOptions,
  VersioningType,
} from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import {
  JwtStateModule,
  type JwtStateOptions,
  RefreshTokenController,
  type RefreshTokenOptions,
} from 'nestjs-jwt-state';
import { map } from 'rxjs';
import { expectNewToken, expectNoGrant, expectRefusal } from '../support/expectations.js';
import { cookiesOf, exchange, logIn, pairOf, REFRESH_PATH } from '../support/refresh-client.js';
import { SessionController } from '../support/session.controller.js';
import {
  claimsOf,
  closeApps,
  PLATFORMS,
  type Platform,
  type Reply,
  startApp,
  type TestApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

/*
 * The routes of this module in applications that do something with all of their routes: prefixes,
 * versions, interceptors, other modules' paths.
 */

const NAME = '__Secure-refresh-token';
const JWKS_PATH = '/.well-known/jwks.json';

type Prepare = (app: INestApplication) => void;

interface Settings {
  prepare?: Prepare;
  tokens?: RefreshTokenOptions | false;
  path?: string | false;
  options?: Partial<JwtStateOptions>;
  imports?: Type[] | ReturnType<typeof RouterModule.register>[];
  controllers?: Type[];
  store?: TestStore;
}

const start = (platform: Platform, settings: Settings = {}) => {
  const { tokens = { cookie: true }, path, prepare, options, imports, store } = settings;
  const { controllers = [SessionController] } = settings;
  return startApp({
    platform,
    controllers,
    ...(store && { store }),
    ...(prepare && { prepare }),
    ...(imports && { imports }),
    options: { ...options, refresh: { ...(path !== undefined && { path }), tokens } },
  });
};

const keyPair = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const withJwks: Partial<JwtStateOptions> = {
  keys: { algorithm: 'ES256', privateKey: keyPair.privateKey },
  jwks: true,
};

describe.each(PLATFORMS)('Answers of the refresh route: %s', (platform) => {
  afterEach(closeApps);

  function expectNotStored({ headers }: Reply): void {
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('pragma')).toBe('no-cache');
  }

  it('are not stored, refusals by the guard among them (RFC 6749 §5.1, §5.2)', async () => {
    const store = TestStore.create('memory');
    const app = await start(platform, { tokens: false, store });
    const token = await app.logIn();
    const other = await app.logIn();
    const authorization = [token, other].map((one) => `Bearer ${one}`);
    const refused: [Reply, Parameters<typeof expectRefusal>[1]][] = [
      [await app.post(REFRESH_PATH), 'TOKEN_MISSING'],
      [await app.post(REFRESH_PATH, 'not-a-token'), 'TOKEN_INVALID'],
      [await app.send(REFRESH_PATH, { authorization }, 'POST'), 'INVALID_REQUEST'],
    ];
    await app.tokens.revoke({ token: other });
    refused.push([await app.post(REFRESH_PATH, other), 'TOKEN_REVOKED']);
    store.fail();
    refused.push([await app.post(REFRESH_PATH, token), 'DENY_LIST_UNAVAILABLE']);
    store.recover();
    for (const [reply, code] of refused) {
      expectRefusal(reply, code);
      expectNotStored(reply);
    }
    const reply = await app.post(REFRESH_PATH, token);
    expectNewToken(reply, {});
    expectNotStored(reply);
  });

  it('to refresh tokens are not stored either, whatever they say', async () => {
    const app = await start(platform, { tokens: {} });
    const { refresh } = await logIn(app);
    for (const body of [{}, { grant_type: 'password' }, { refresh_token: 'not-a-token' }]) {
      const reply = await app.post(REFRESH_PATH, undefined, body);
      expect(reply.status).toBe(400);
      expectNotStored(reply);
    }
    const reply = await exchange(app, refresh);
    pairOf(reply);
    expectNotStored(reply);
  });

  it('name the new token once, whatever delivery.body adds to other answers', async () => {
    const delivery = { body: 'token' };
    const app = await start(platform, { tokens: {}, options: { delivery } });
    pairOf(await exchange(app, (await logIn(app)).refresh));
    const other = await start(platform, { tokens: false, options: { delivery } });
    const { body } = await other.post(REFRESH_PATH, await other.logIn());
    expect(Object.keys(body)).toEqual(['access_token', 'token_type', 'expires_in']);
  });

  it('are none of other routes: their refusals stay as they are', async () => {
    const app = await start(platform);
    expect((await app.get('/me')).headers.get('cache-control')).toBeNull();
  });
});

describe.each(PLATFORMS)('Interceptors that put every answer into an envelope: %s', (platform) => {
  afterEach(closeApps);

  const inEnvelope: Prepare = (app) =>
    void app.useGlobalInterceptors({
      intercept: (_: unknown, next: CallHandler) => next.handle().pipe(map((data) => ({ data }))),
    });

  it('leave a refresh with a token in the body as it is', async () => {
    const app = await start(platform, { tokens: {}, prepare: inEnvelope });
    expect((await app.get('/me', await app.logIn())).body).toEqual({ data: expect.anything() });
    const { refreshToken } = await app.logInFor('alice');
    pairOf(await exchange(app, refreshToken));
    expectNoGrant(await exchange(app, 'not-a-token'));
  });

  it('leave a refresh by cookie as it is, and its cookies are set', async () => {
    const app = await start(platform, {
      prepare: inEnvelope,
      options: { delivery: { cookie: true } },
    });
    const { refreshToken } = await app.logInFor('alice');
    const headers = { cookie: `${NAME}=${refreshToken}` };
    const reply = await app.request('POST', REFRESH_PATH, { headers });
    expect(reply.status).toBe(200);
    expect(reply.body).toEqual({ token_type: 'Bearer', expires_in: expect.any(Number) });
    expect(Object.keys(cookiesOf(reply)).sort()).toEqual(['__Host-token', NAME]);
  });

  it('leave a refresh of an access token as it is', async () => {
    const app = await start(platform, { tokens: false, prepare: inEnvelope });
    const reply = await app.post(REFRESH_PATH, await app.logIn());
    expect(reply.status).toBe(200);
    expect(reply.headers.get('content-type')).toMatch(/^application\/json/);
    expect(reply.body).toEqual({
      access_token: expectNewToken(reply, {}),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
    });
  });

  it('leave the key set as it is', async () => {
    const app = await start(platform, { prepare: inEnvelope, options: withJwks });
    const reply = await app.get(JWKS_PATH);
    expect(reply.body).toEqual({ keys: [expect.objectContaining({ kty: 'EC', use: 'sig' })] });
    expect(reply.headers.get('content-type')).toMatch(/^application\/jwk-set\+json/);
    expect(reply.headers.get('cache-control')).toBe('public, max-age=300');
  });

  it('that fail do not take an answer back that was sent', async () => {
    const prepare: Prepare = (app) =>
      void app.useGlobalInterceptors({
        intercept: (_: unknown, next: CallHandler) =>
          next.handle().pipe(
            map(() => {
              throw new Error('It expected another form.');
            }),
          ),
      });
    const app = await start(platform, { tokens: {}, prepare });
    pairOf(await exchange(app, (await app.logInFor('alice')).refreshToken));
  });
});

describe.each(PLATFORMS)('Versions of an API: %s', (platform) => {
  afterEach(closeApps);

  const HEADER = 'X-API-Version';
  const versionings: [string, VersioningOptions][] = [
    ['a header', { type: VersioningType.HEADER, header: HEADER }],
    ['the media type', { type: VersioningType.MEDIA_TYPE, key: 'v=' }],
    [
      'a function',
      {
        type: VersioningType.CUSTOM,
        extractor: (request: unknown) =>
          (request as { headers: Record<string, string> }).headers['x-api-version'] ?? '',
      },
    ],
    ['the URI', { type: VersioningType.URI }],
  ];

  it.each(versionings)('by %s: the routes of this module have none', async (_, versioning) => {
    const prepare: Prepare = (app) =>
      void app.enableVersioning({ ...versioning, defaultVersion: '1' } as VersioningOptions);
    const app = await start(platform, { prepare, options: withJwks });
    const { refreshToken } = await app.logInFor('alice');
    let cookie = `${NAME}=${refreshToken}`;
    const named: Record<string, string>[] = [
      {},
      { [HEADER]: '1' },
      { [HEADER]: '9' },
      { accept: 'application/json;v=1' },
    ];
    for (const version of named) {
      expect((await app.get(JWKS_PATH, undefined, version)).body.keys).toHaveLength(1);
      const headers = { cookie, ...version };
      const reply = await app.request('POST', REFRESH_PATH, { headers });
      expect(reply.status).toBe(200);
      const { value, attributes } = cookiesOf(reply)[NAME] ?? {};
      expect(attributes).toMatchObject({ Path: REFRESH_PATH });
      cookie = `${NAME}=${value}`;
    }
  });
});

describe.each(PLATFORMS)('The path of the refresh cookie: %s', (platform) => {
  afterEach(closeApps);

  const prefixed =
    (...args: Parameters<INestApplication['setGlobalPrefix']>): Prepare =>
    (app) =>
      void app.setGlobalPrefix(...args);

  /** That a browser would send the cookie of a log-in to the route, which takes it. */
  async function expectPath(app: TestApp, path: string, login = '/login'): Promise<void> {
    const reply = await app.post(login, undefined, { user: 'alice' });
    const { value, attributes } = cookiesOf(reply)[NAME] ?? {};
    expect(attributes).toMatchObject({ Path: path });
    const headers = { cookie: `${NAME}=${value}` };
    const refreshed = await app.request('POST', path, { headers });
    expect(refreshed.status).toBe(200);
    expect(claimsOf(refreshed.body.access_token).sub).toBe('alice');
  }

  it.each<[string, Parameters<INestApplication['setGlobalPrefix']>, string]>([
    ['a prefix', ['api'], '/api/auth/refresh-token'],
    ['a prefix with slashes', ['/api/v2/'], '/api/v2/auth/refresh-token'],
    ['an exclusion of the route', ['api', { exclude: ['auth/refresh-token'] }], REFRESH_PATH],
    ['one with a wildcard', ['api', { exclude: ['auth/*path'] }], REFRESH_PATH],
    ['one with a parameter', ['api', { exclude: ['/auth/:what'] }], REFRESH_PATH],
    [
      'one of its method',
      ['api', { exclude: [{ path: 'auth/refresh-token', method: RequestMethod.POST }] }],
      REFRESH_PATH,
    ],
    [
      'one of all methods',
      ['api', { exclude: [{ path: 'auth/{*path}', method: RequestMethod.ALL }] }],
      REFRESH_PATH,
    ],
    [
      'one of another method',
      ['api', { exclude: [{ path: 'auth/refresh-token', method: RequestMethod.GET }] }],
      '/api/auth/refresh-token',
    ],
    ['one of other routes', ['api', { exclude: ['auth'] }], '/api/auth/refresh-token'],
  ])('knows %s', async (_, prefix, path) => {
    const app = await start(platform, { prepare: prefixed(...prefix) });
    const [, inApi = ''] = /^\/?(.*?)\/?$/.exec(prefix[0]) ?? [];
    await expectPath(app, path, `/${inApi}/login`);
  });

  it('knows a path of RouterModule', async () => {
    const imports = [RouterModule.register([{ path: 'account', module: JwtStateModule }])];
    const app = await start(platform, { imports, prepare: prefixed('api') });
    await expectPath(app, '/api/account/auth/refresh-token', '/api/login');
  });

  it('knows a version that a controller of the application has', async () => {
    @Controller({ path: 'session', version: '2' })
    class OwnRefresh extends RefreshTokenController {}
    const app = await start(platform, {
      path: false,
      controllers: [SessionController, OwnRefresh],
      prepare: (nest) =>
        void nest.enableVersioning({ type: VersioningType.URI, defaultVersion: VERSION_NEUTRAL }),
    });
    await expectPath(app, '/v2/session');
  });

  describe('that cannot be known stops the boot, unless it is given', () => {
    @Controller(['session', 'sessions'])
    class TwoPaths extends RefreshTokenController {}

    it.each<[string, Settings, string]>([
      ['a parameter', { prepare: prefixed('api/:tenant') }, '"/api/:tenant/auth/refresh-token"'],
      ['a parameter of its own', { path: ':tenant/token' }, '"/:tenant/token"'],
      ['an optional part', { path: '{:tenant/}auth/token' }, '"/{:tenant/}auth/token"'],
      ['no route of this module', { path: false }, 'refresh.path is false'],
      [
        'two of them',
        { path: false, controllers: [SessionController, TwoPaths] },
        '"/session" and "/sessions"',
      ],
    ])('%s', async (_, settings, hint) => {
      const boot = start(platform, settings);
      await expect(boot).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('refresh.tokens.cookie.path is missing'),
      });
      await expect(boot).rejects.toMatchObject({ message: expect.stringContaining(hint) });
      const app = await start(platform, { ...settings, tokens: { cookie: { path: '/api' } } });
      const { refreshToken = '' } = await app.tokens.issue('alice');
      expect(refreshToken).not.toBe('');
    });

    it('a given one is taken as it is, though the route has a parameter', async () => {
      const app = await start(platform, {
        prepare: prefixed('api/:tenant'),
        tokens: { cookie: { path: '/api' } },
      });
      const reply = await app.post('/api/acme/login', undefined, { user: 'alice' });
      const { value, attributes } = cookiesOf(reply)[NAME] ?? {};
      expect(attributes).toMatchObject({ Path: '/api' });
      const headers = { cookie: `${NAME}=${value}` };
      const path = `/api/acme${REFRESH_PATH}`;
      expect((await app.request('POST', path, { headers })).status).toBe(200);
    });
  });
});
