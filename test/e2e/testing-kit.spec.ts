import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Module } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  JwtStateConfigError,
  JwtStateModule,
  type JwtStateOptions,
  SubjectRefusedError,
  TokenIssuer,
} from 'nestjs-jwt-state';
import { redisDenyList } from 'nestjs-jwt-state/redis';
import {
  ExpectationError,
  expectAlive,
  expectDead,
  expectNotReissued,
  expectReissued,
  expectStale,
  overrideJwtState,
  TestClock,
  TestDenyList,
  TestToken,
  tokenFor,
} from 'nestjs-jwt-state/testing';
import request from 'supertest';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { exchange, REFRESH_PATH } from '../support/refresh-client.js';
import { SessionController } from '../support/session.controller.js';
import {
  clock,
  closeApps,
  log,
  MATRIX,
  PLATFORMS,
  refuseToLeak,
  SECRET,
  startApp,
  type TestApp,
  type TestAppSettings,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

const KEYS = { algorithm: 'HS256', secret: SECRET } as const;
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });

afterEach(closeApps);

const serverOf = (app: TestApp) => app.nest.getHttpServer();

/** An application on a test deny list, and the list. */
async function startWithDenyList({ options, ...settings }: TestAppSettings = {}) {
  const list = new TestDenyList();
  const denyList = { cache: list.cache, lookupTimeout: '50ms', ...options?.denyList } as const;
  return { list, app: await startApp({ ...settings, options: { ...options, denyList } }) };
}

/** What an expectation says when it is not met, which must not give a token away. */
async function failureOf(expectation: () => unknown): Promise<string> {
  const error: unknown = await (async () => {
    await expectation();
    return new Error('The expectation was met.');
  })().catch((thrown: unknown) => thrown);
  if (!(error instanceof ExpectationError)) throw error;
  refuseToLeak(`${error.stack}`, 'a failed expectation');
  return error.message;
}

describe.each(MATRIX)('tokenFor: %s, deny list in %s', (platform, store) => {
  const start = (settings: TestAppSettings = {}) => startApp({ platform, store, ...settings });

  it('gives what a log-in would give, without one', async () => {
    const app = await start({ options: { issuer: 'us', audience: ['web', 'api'] } });
    const told: unknown[] = [];
    app.events.on('issued', (event) => void told.push(event));
    const token = await tokenFor(app.nest, 'alice', { plan: 'premium' });
    expect(told).toEqual([]);
    expectNoNewToken(await app.get('/me', token.accessToken), { sub: 'alice', plan: 'premium' });

    const likeIt = new TestToken(await app.logIn('alice', { plan: 'premium', role: 'x' }));
    const { seen, iat, exp, auth_time } = token.claims;
    expect(Object.keys({ ...token.claims, role: 'x' }).sort()).toEqual(
      Object.keys(likeIt.claims).sort(),
    );
    expect(seen).toEqual(likeIt.claims.seen);
    expect({ lifetime: exp - iat, auth_time }).toEqual({ lifetime: 900, auth_time: iat });
  });

  it('asks the claims source where no claims are given, and takes them as they are else', async () => {
    const app = await start();
    expect((await tokenFor(app.nest, 'bob')).claims).toMatchObject({
      plan: 'free',
      role: 'member',
    });
    expect(app.users.asked).toBe(1);
    const given = await tokenFor<{ plan?: string }>(app.nest, 7, {});
    expect(given.claims).toMatchObject({ sub: '7' });
    expect(given.claims.plan).toBeUndefined();
    expect(app.users.asked).toBe(1);
    app.users.remove('bob');
    await expect(tokenFor(app.nest, 'bob')).rejects.toBeInstanceOf(SubjectRefusedError);
    await expect(tokenFor(app.nest, 'bob', { sub: 'alice' })).rejects.toThrow('may not set sub');
  });

  it('knows of what happened before, and not of what happens after', async () => {
    const app = await start({ options: { denyList: { claims: ['tenant'] } } });
    await app.change('alice', { plan: 'premium' });
    await app.tokens.revoke({ sub: 'alice' });
    await app.tokens.revoke({ tenant: 'acme' });
    const token = await tokenFor(app.nest, 'alice', { plan: 'premium', tenant: 'acme' });
    expectNoNewToken(await app.get('/me', token.accessToken), { plan: 'premium' });
    await app.change('alice', { plan: 'basic' });
    expectNewToken(await app.get('/me', token.accessToken), { plan: 'basic' });
    await app.tokens.revoke({ tenant: 'acme' });
    expectRefusal(await app.get('/me', token.accessToken), 'TOKEN_REVOKED');
  });

  it('gives an old one, an expired one, one with another lifetime', async () => {
    const app = await start({ options: { clockTolerance: '5s' } });
    const now = Math.floor(clock.now() / 1000);
    const old = await tokenFor(app.nest, 'alice', {}, { age: '10m' });
    expect(old.claims.exp - now).toBeGreaterThanOrEqual(299);
    expect(old.claims.exp - now).toBeLessThanOrEqual(301);
    expect(old.claims.auth_time).toBe(old.claims.iat);
    expectNoNewToken(await app.get('/me', old.accessToken));

    const expired = await tokenFor(app.nest, 'alice', {}, { expired: true });
    expectRefusal(await app.get('/me', expired.accessToken), 'TOKEN_EXPIRED');
    expect(now - expired.claims.exp).toBeLessThan(8);
    const older = await tokenFor(app.nest, 'alice', {}, { age: '2d' });
    expectRefusal(await app.get('/me', older.accessToken), 'TOKEN_EXPIRED');

    const short = await tokenFor(app.nest, 'alice', {}, { expiresIn: '1m' });
    expect(short.claims.exp - short.claims.iat).toBe(60);
    expectNoNewToken(await app.get('/me', short.accessToken));
    clock.advance('66s');
    expectRefusal(await app.get('/me', short.accessToken), 'TOKEN_EXPIRED');

    for (const options of [{ expiresIn: '1h' }, { age: '5m', expired: true }] as const) {
      await expect(tokenFor(app.nest, 'alice', {}, options)).rejects.toThrow(JwtStateConfigError);
    }
  });

  it('gives another one of a session', async () => {
    const app = await start();
    const first = await tokenFor(app.nest, 'alice', {}, { age: '5m' });
    await app.tokens.revoke({ sub: 'alice', except: first.claims });
    const second = await tokenFor(app.nest, 'alice', {}, { session: first.claims });
    const { sid, auth_time, jti } = second.claims;
    expect({ sid, auth_time }).toEqual({
      sid: first.claims.sid,
      auth_time: first.claims.auth_time,
    });
    expect(jti > first.claims.jti).toBe(true);
    const bySid = await tokenFor(app.nest, 'alice', {}, { session: { sid } });
    for (const token of [second, bySid]) {
      expectNoNewToken(await app.get('/me', token.accessToken), { sid });
    }
    await app.tokens.revoke(first.claims);
    for (const token of [first, second, bySid]) {
      expectRefusal(await app.get('/me', token.accessToken), 'TOKEN_REVOKED');
    }
  });

  it('has seen the marks of its session, too', async () => {
    const app = await start({ controllers: [SessionController] });
    const first = await tokenFor(app.nest, 'alice');
    await app.tokens.markStale({ sid: first.claims.sid });
    await app.tokens.markStale({ sub: 'alice' });
    const second = await tokenFor(app.nest, 'alice', {}, { session: first.claims });
    expectNoNewToken(await app.get('/me', second.accessToken));
    expect(second.claims.seen.stale).toHaveLength(2);
    await expectStale(app.nest, first);
  });

  it('does not forget for a session what it was revoked by', async () => {
    const app = await start();
    const first = await tokenFor(app.nest, 'alice');
    await app.tokens.revoke({ sub: 'alice' });
    const second = await tokenFor(app.nest, 'alice', {}, { session: first.claims });
    expectRefusal(await app.get('/me', second.accessToken), 'TOKEN_REVOKED');
  });

  it('brings a refresh token where sessions have one', async () => {
    const app = await start({ options: { refresh: { tokens: {} } } });
    const { refreshToken, accessToken } = await tokenFor(app.nest, 'alice', {}, { expired: true });
    expectRefusal(await app.get('/me', accessToken), 'TOKEN_EXPIRED');
    const reply = await exchange(app, refreshToken as string);
    expectReissued(reply, { sub: 'alice', plan: 'free' });
    const another = await tokenFor(app.nest, 'alice', {}, { session: { sid: 'a session' } });
    expect(another.refreshToken).toBeUndefined();
  });

  it('works without a deny list', async () => {
    const app = await start({
      account: false,
      options: { denyList: false, claims: undefined },
    });
    const token = await tokenFor(app.nest, 'alice', { plan: 'free' });
    expectNoNewToken(await app.get('/me', token.accessToken), { plan: 'free' });
    expect((await tokenFor(app.nest, 'alice')).claims.plan).toBeUndefined();
    const expired = await tokenFor(app.nest, 'alice', {}, { expired: true });
    expectRefusal(await app.get('/me', expired.accessToken), 'TOKEN_EXPIRED');
  });
});

describe('tokenFor', () => {
  it('says what to do where there is no key to sign with', async () => {
    const list = new TestDenyList();
    const settings = {
      options: { denyList: { cache: list.cache, prefix: 'shared:' } },
      account: false,
    };
    const keys = { algorithm: 'ES256', publicKey } as const;
    const verifying = await startApp({
      ...settings,
      options: { ...settings.options, keys, claims: undefined },
    });
    await expect(tokenFor(verifying.nest, 'alice')).rejects.toThrow(/only verifies.*private key/);

    const issuing = await Test.createTestingModule({
      imports: [
        JwtStateModule.forRoot({ ...settings.options, keys: { algorithm: 'ES256', privateKey } }),
      ],
    }).compile();
    const token = await tokenFor(issuing, 'alice', { plan: 'premium' });
    expectNoNewToken(await verifying.get('/me', token.accessToken), { plan: 'premium' });
    await issuing.close();
  });

  it('takes a ModuleRef, too, and needs the module', async () => {
    const app = await startApp();
    const token = await tokenFor(app.nest.get(ModuleRef), 'alice');
    expectNoNewToken(await app.get('/me', token.accessToken));
    const bare = await Test.createTestingModule({}).compile();
    await expect(tokenFor(bare, 'alice')).rejects.toThrow('There is no JwtStateModule');
  });
});

describe.each(PLATFORMS)('Expectations of responses: %s', (platform) => {
  const DELIVERIES: [string, JwtStateOptions['delivery']][] = [
    ['header', {}],
    ['another header', { header: 'X-Token' }],
    ['cookie', { cookie: true }],
    ['body', { body: 'token', header: false }],
  ];

  it.each(DELIVERIES)('hold for supertest, delivery by %s', async (_, delivery) => {
    const app = await startApp({ platform, options: { delivery } });
    const token = await tokenFor(app.nest, 'alice');
    const unchanged = await request(serverOf(app)).get('/me').set(token.header).expect(200);
    expectNotReissued(unchanged);
    expect(await failureOf(() => expectReissued(unchanged))).toMatch(/brings none/);

    const changed = await request(serverOf(app))
      .post('/plan')
      .set('Authorization', `Bearer ${token}`)
      .send({ plan: 'premium' })
      .expect(201);
    const next = expectReissued(changed, { sub: 'alice', plan: 'premium' });
    expect(await failureOf(() => expectNotReissued(changed))).toMatch(/brings one/);
    expect(await failureOf(() => expectReissued(changed, { plan: 'free' }))).toMatch(
      "plan is 'premium', expected 'free'",
    );
    expectNotReissued(await request(serverOf(app)).get('/premium').set(next.header).expect(200));
  });

  it.each(DELIVERIES)('hold for fetch, delivery by %s', async (kind, delivery) => {
    const app = await startApp({ platform, options: { delivery } });
    const token = await tokenFor(app.nest, 'alice');
    const response = await fetch(`${app.url}/plan`, {
      method: 'POST',
      headers: { ...token.header, 'Content-Type': 'application/json' },
      body: '{"plan":"premium"}',
    });
    if (kind === 'body') {
      expect(await failureOf(() => expectReissued(response))).toMatch(/status, headers, body/);
      const { status, headers } = response;
      const read = { status, headers, body: await response.json() };
      expectReissued(read, { plan: 'premium' });
    } else {
      expectReissued(response, { plan: 'premium' });
      await response.text();
    }
  });

  it('hold where both ways are by cookie', async () => {
    const app = await startApp({ platform, options: { delivery: { cookie: true } } });
    const token = await tokenFor(app.nest, 'alice');
    expectNotReissued(await request(serverOf(app)).get('/me').set(token.cookie()).expect(200));
    await app.change('alice', { plan: 'premium' });
    const next = expectReissued(await request(serverOf(app)).get('/me').set(token.cookie()));
    expectNotReissued(await request(serverOf(app)).get('/premium').set(next.cookie()).expect(200));
  });

  it('hold for the refresh route', async () => {
    const app = await startApp({
      platform,
      controllers: [SessionController],
      options: { refresh: { tokens: { cookie: true } } },
    });
    const logIn = await request(serverOf(app)).post('/login').send({ user: 'alice' });
    const { refreshToken } = expectReissued(logIn);
    const cookie = `__Secure-refresh-token=${refreshToken}`;
    const refreshed = await request(serverOf(app)).post(REFRESH_PATH).set({ cookie }).send({});
    expect(expectReissued(refreshed, { sub: 'alice' }).refreshToken).not.toBe(refreshToken);
  });
});

it('Expectations of responses hold for inject() of Fastify', async () => {
  for (const delivery of [{}, { cookie: true }, { body: 'token', header: false }] as const) {
    const app = await startApp({ platform: 'Fastify', options: { delivery } });
    const token = await tokenFor(app.nest, 'alice');
    const { header } = token;
    const fastify = app.nest as NestFastifyApplication;
    expectNotReissued(await fastify.inject({ url: '/me', headers: header }));
    const payload = { plan: 'premium' };
    const changed = await fastify.inject({
      method: 'POST',
      url: '/plan',
      headers: header,
      payload,
    });
    expectReissued(changed, payload);
    expect(await failureOf(() => expectNotReissued(changed))).toMatch(/\(201\)/);
    const refused = await fastify.inject({ url: '/me' });
    expect(await failureOf(() => expectReissued(refused))).toMatch('(401 TOKEN_MISSING)');
  }
});

describe.each(PLATFORMS)('Expectations of tokens: %s', (platform) => {
  it('tell alive, stale and dead apart', async () => {
    const { app } = await startWithDenyList({ platform });
    const token = await tokenFor(app.nest, 'alice');
    expect(await expectAlive(app.nest, token, { plan: 'free' })).toMatchObject({ sub: 'alice' });
    expect(await failureOf(() => expectAlive(app.nest, token, { plan: 'premium' }))).toMatch(
      "plan is 'free', expected 'premium'",
    );
    const isAlive = /it is alive, sub alice/;
    expect(await failureOf(() => expectStale(app.nest, token))).toMatch(isAlive);
    expect(await failureOf(() => expectDead(app.nest, token))).toMatch(isAlive);

    await app.change('alice', { plan: 'premium' });
    await expectStale(app.nest, token);
    expect(await failureOf(() => expectAlive(app.nest, token))).toMatch(/TOKEN_STALE/);
    expect(await failureOf(() => expectDead(app.nest, token))).toMatch(/TOKEN_STALE/);

    // Replaced: as long as it leads to its successor, its requests run.
    const next = expectReissued(await request(serverOf(app)).get('/me').set(token.header));
    await expectAlive(app.nest, token, { plan: 'premium', jti: next.claims.jti });
    clock.advance('31s');
    await expectDead(app.nest, token, 'TOKEN_SUPERSEDED');
    expect(await failureOf(() => expectDead(app.nest, token, 'TOKEN_REVOKED'))).toMatch(
      /dead \(TOKEN_REVOKED\): TOKEN_SUPERSEDED/,
    );
    expect(await failureOf(() => expectAlive(app.nest, token))).toMatch(/TOKEN_SUPERSEDED/);

    await request(serverOf(app)).post('/logout').set(next.header).expect(201);
    await expectDead(app.nest, next, 'TOKEN_REVOKED');
    await expectDead(app.nest, next.accessToken);
    await expectDead(app.nest, await tokenFor(app.nest, 'bob', {}, { expired: true }));
    await expectDead(app.nest, await app.issuer.issue('alice')).then(
      () => Promise.reject(new Error('A new session was found dead.')),
      () => undefined,
    );
  });

  it('do not take "nobody can say" for dead, nor what is no token', async () => {
    const { app, list } = await startWithDenyList({
      platform,
      options: { refresh: { tokens: {} } },
    });
    const token = await tokenFor(app.nest, 'alice');
    list.fail();
    for (const expectation of [expectDead, expectAlive, expectStale]) {
      expect(await failureOf(() => expectation(app.nest, token))).toMatch(/DENY_LIST_UNAVAILABLE/);
    }
    await expect(expectDead(app.nest, '')).rejects.toThrow('This is no token');
    await expect(expectDead(app.nest, token.refreshToken as string)).rejects.toThrow(
      'This is a refresh token',
    );
  });
});

describe.each(PLATFORMS)('A test deny list: %s', (platform) => {
  it('fails, hangs and recovers as a server does', async () => {
    const { app, list } = await startWithDenyList({ platform });
    const { accessToken } = await tokenFor(app.nest, 'alice');
    list.fail();
    for (let again = 0; again < 4; again++) {
      expectRefusal(await app.get('/me', accessToken), 'DENY_LIST_UNAVAILABLE');
    }
    expect(log.text).toContain('The deny list does not answer: TestDenyListFault');
    list.recover();
    clock.advance('1s');
    expectNoNewToken(await app.get('/me', accessToken));

    list.hang();
    expectRefusal(await app.get('/me', accessToken), 'DENY_LIST_UNAVAILABLE');
    const leaving = await app.post('/logout', accessToken);
    expectRefusal(leaving, 'DENY_LIST_UNAVAILABLE');
    list.recover();
    expectNoNewToken(await app.get('/me', accessToken));
  });

  it('does late what was asked of it while it hung', async () => {
    const { app, list } = await startWithDenyList({ platform });
    const { accessToken } = await tokenFor(app.nest, 'alice');
    list.hang({ only: 'write' });
    expectRefusal(await app.post('/logout', accessToken), 'DENY_LIST_UNAVAILABLE');
    expectNoNewToken(await app.get('/me', accessToken));
    list.recover();
    expectRefusal(await app.get('/me', accessToken), 'TOKEN_REVOKED');
  });

  it('lets some calls fail', async () => {
    const { app, list } = await startWithDenyList({ platform });
    const { accessToken } = await tokenFor(app.nest, 'alice');
    list.fail({ only: 'write', keys: /stale:sub:/, times: 1 });
    expectNoNewToken(await app.get('/me', accessToken));
    expectRefusal(await app.post('/plan', accessToken, { plan: 'a' }), 'DENY_LIST_UNAVAILABLE');
    expectNewToken(await app.post('/plan', accessToken, { plan: 'b' }), { plan: 'b' });
  });

  it('loses its entries, and the module notices', async () => {
    for (const onLoss of ['reject', 'reissue'] as const) {
      const { app, list } = await startWithDenyList({
        platform,
        options: { denyList: { onLoss } },
      });
      const { accessToken } = await tokenFor(app.nest, 'alice');
      list.lose();
      const reply = await app.get('/me', accessToken);
      if (onLoss === 'reject') expectRefusal(reply, 'DENY_LIST_LOST');
      else expectNewToken(reply, { sub: 'alice' });
    }
  });

  it('is shared by the applications that are given it, and outlives them', async () => {
    const list = new TestDenyList();
    const denyList = { cache: list.cache, prefix: 'shared:' };
    const start = () => startApp({ platform, options: { denyList, refresh: { tokens: {} } } });
    const [first, second] = [await start(), await start()];
    const token = await tokenFor(first.nest, 'alice');
    expectNoNewToken(await second.get('/me', token.accessToken));
    await second.tokens.revoke({ token: token.accessToken });
    await first.close();
    await second.close();
    const third = await start();
    expectRefusal(await third.get('/me', token.accessToken), 'TOKEN_REVOKED');
    expect(log.text).not.toContain('in memory');
    list.fail();
    await expect(tokenFor(third.nest, 'alice')).rejects.toThrow('cannot be reached');
  });

  it('is asked once per request, and goes by the clock of the application', async () => {
    const { app, list } = await startWithDenyList({ platform });
    const { accessToken } = await tokenFor(app.nest, 'alice');
    await app.get('/me', accessToken);
    const { reads, writes } = list;
    expectNoNewToken(await app.get('/me', accessToken));
    expect({ reads: list.reads, writes: list.writes }).toEqual({ reads: reads + 1, writes });

    await app.tokens.revoke({ sub: 'bob' });
    const remembers = async () =>
      (await tokenFor(app.nest, 'bob')).claims.seen.revoked?.length ?? 0;
    expect(await remembers()).toBe(1);
    clock.advance('15m');
    expect(await remembers()).toBe(1);
    clock.advance('20s');
    expect(await remembers()).toBe(0);
  });
});

describe('overrideJwtState', () => {
  const moduleWith = (denyList: JwtStateOptions['denyList']) => {
    @Module({
      imports: [
        JwtStateModule.forRoot({ keys: KEYS, ...(denyList !== undefined && { denyList }) }),
      ],
    })
    class AppModule {}
    return Test.createTestingModule({ imports: [AppModule] }).setLogger(log);
  };
  const away = () => redisDenyList({ url: 'redis://127.0.0.1:1' });

  it('puts clock and deny list into an application that has its own', async () => {
    const ownClock = new TestClock('2031-01-01T00:00:00Z');
    const denyList = new TestDenyList();
    const builder = moduleWith({ cache: away(), onUnavailable: 'accept' });
    expect(overrideJwtState(builder, { clock: ownClock, denyList })).toBe(builder);
    const app = (await builder.compile()).createNestApplication();
    await app.init();
    const token = await tokenFor(app, 'alice');
    expect(token.claims.iat).toBe(Date.UTC(2031, 0, 1) / 1000);
    await app.get(TokenIssuer).verify(token.accessToken);
    ownClock.advance('15m');
    ownClock.advance('5s');
    await expectDead(app, token, 'TOKEN_EXPIRED');
    expect(denyList.reads).toBeGreaterThan(0);
    await app.close();
    expect(log.text).not.toContain('ECONNREFUSED');
  });

  it('replaces one of them, or none', async () => {
    const builder = moduleWith(undefined);
    const compiled = await overrideJwtState(builder, { clock: new TestClock(1_000_000) }).compile();
    expect((await tokenFor(compiled, 'alice')).claims.iat).toBe(1_000);
    await compiled.close();
    const plain = await overrideJwtState(moduleWith(undefined), {}).compile();
    const before = Math.floor(Date.now() / 1000);
    expect((await tokenFor(plain, 'alice')).claims.iat).toBeGreaterThanOrEqual(before);
    await plain.close();
  });

  it('does not give a deny list to who has none', async () => {
    const compiling = overrideJwtState(moduleWith(false), {
      denyList: new TestDenyList(),
    }).compile();
    await expect(compiling).rejects.toThrow('denyList: false');
  });
});

it('The stores of this suite take tokens that were made for them', async () => {
  const store = TestStore.create('Redis');
  const [one, other] = [await startApp({ store }), await startApp({ store })];
  const token = await tokenFor(one.nest, 'alice');
  expectNoNewToken(await other.get('/me', token.accessToken));
  await other.tokens.revoke({ sub: 'alice' });
  await expectDead(one.nest, token, 'TOKEN_REVOKED');
});
