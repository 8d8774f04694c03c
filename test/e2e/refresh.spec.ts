import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { JwtStateOptions } from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import {
  claimsOf,
  clock,
  closeApps,
  MATRIX,
  PLATFORMS,
  type Reply,
  startApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

const PATH = '/auth/refresh-token';

describe.each(MATRIX)('POST /auth/refresh-token: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  const start = (options: Partial<JwtStateOptions> = {}) => startApp({ platform, store, options });

  beforeEach(() => {
    store = TestStore.create(kind);
  });
  afterEach(closeApps);

  it('answers as a token endpoint does (RFC 6749 §5.1), and as any response with a token', async () => {
    const app = await start({ accessToken: { expiresIn: '15m' } });
    const reply = await app.post(PATH, await app.logIn('alice'));
    expect(reply.status).toBe(200);
    expect(reply.headers.get('content-type')).toMatch(/^application\/json/);
    expect(reply.body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
    });
    expect(reply.body.expires_in).toBeGreaterThan(890);
    expect(reply.body.expires_in).toBeLessThanOrEqual(900);
    expect(expectNewToken(reply, {})).toBe(reply.body.access_token);
  });

  it('renews the expiry, and keeps session and log-in time', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('10m');
    const refreshed = claimsOf(refreshedBy(await app.post(PATH, token)));
    const { sid, sub, auth_time, exp } = claimsOf(token);
    expect(refreshed).toMatchObject({ sid, sub, auth_time });
    expect(refreshed.exp).toBeGreaterThanOrEqual(exp + 600);
  });

  it('asks the claims source, mark or no mark', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    app.users.set('alice', { plan: 'premium' });
    const refreshed = refreshedBy(await app.post(PATH, token));
    expect(claimsOf(refreshed)).toMatchObject({ plan: 'premium' });
    expectNoNewToken(await app.get('/me', refreshed), { plan: 'premium' });
  });

  it('supersedes the old token', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    const { jti } = claimsOf(refreshedBy(await app.post(PATH, token)));
    expectNewToken(await app.get('/me', token), { jti });
    clock.advance('31s');
    expectRefusal(await app.post(PATH, token), 'TOKEN_SUPERSEDED');
  });

  it('gives a stale token one successor, with fresh claims', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('1m');
    await app.change('alice', { plan: 'premium' });
    const refreshed = refreshedBy(await app.post(PATH, token));
    expect(claimsOf(refreshed)).toMatchObject({ plan: 'premium' });
    expectNewToken(await app.get('/me', token), { jti: claimsOf(refreshed).jti });
  });

  it('gives a superseded token in grace the tip', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('1m');
    const tip = claimsOf(refreshedBy(await app.post(PATH, token)));
    clock.advance('10s');
    expect(claimsOf(refreshedBy(await app.post(PATH, token)))).toEqual(tip);
  });

  it('gives a superseded token in grace the tip, in the very second of the log-in too', async () => {
    const app = await start();
    clock.stop();
    const token = await app.logIn('alice');
    const tip = claimsOf(refreshedBy(await app.post(PATH, token)));
    expect(claimsOf(refreshedBy(await app.post(PATH, token)))).toEqual(tip);
  });

  it('gives a superseded token in grace the tip, when the session can last no longer too', async () => {
    const app = await start({ accessToken: { expiresIn: '15m' }, session: { maxAge: '15m' } });
    const token = await app.logIn('alice');
    clock.advance('1m');
    const tip = claimsOf(refreshedBy(await app.post(PATH, token)));
    expect(claimsOf(refreshedBy(await app.post(PATH, token)))).toEqual(tip);
  });

  it('makes a tip that a reissue left with the old expiry live longer, as it was asked to', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('5m');
    await app.change('alice', { plan: 'premium' });
    expectNewToken(await app.get('/me', token), { exp: claimsOf(token).exp });
    const refreshed = claimsOf(refreshedBy(await app.post(PATH, token)));
    expect(refreshed.exp).toBeGreaterThanOrEqual(claimsOf(token).exp + 300);
  });

  it('answers parallel refreshes with one token', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('1m');
    const replies = await Promise.all(Array.from({ length: 20 }, () => app.post(PATH, token)));
    expect(new Set(replies.map((reply) => claimsOf(refreshedBy(reply)).jti)).size).toBe(1);
  });

  it('answers parallel refreshes with one token when the session can last no longer, too', async () => {
    const app = await start({ accessToken: { expiresIn: '15m' }, session: { maxAge: '15m' } });
    const token = await app.logIn('alice');
    clock.advance('1m');
    const replies = await Promise.all(Array.from({ length: 20 }, () => app.post(PATH, token)));
    expect(new Set(replies.map((reply) => claimsOf(refreshedBy(reply)).jti)).size).toBe(1);
  });

  it('refuses what the guard refuses', async () => {
    const app = await start();
    expectRefusal(await app.post(PATH), 'TOKEN_MISSING');
    expectRefusal(await app.post(PATH, 'not-a-token'), 'TOKEN_INVALID');
    const token = await app.logIn();
    await app.tokens.revoke({ token });
    expectRefusal(await app.post(PATH, token), 'TOKEN_REVOKED');
    const expiring = await app.logIn();
    clock.advance('16m');
    expectRefusal(await app.post(PATH, expiring), 'TOKEN_EXPIRED');
  });

  it('is 503 when the claims source throws, and consumes nothing', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    app.users.fail('throws');
    expectRefusal(await app.post(PATH, token), 'CLAIMS_UNAVAILABLE');
    app.users.recover();
    expectNoNewToken(await app.get('/me', token));
    refreshedBy(await app.post(PATH, token));
  });

  it('is 503 when the successor cannot be written down, and consumes nothing', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    store.fail('write', /:next:/);
    expectRefusal(await app.post(PATH, token), 'DENY_LIST_UNAVAILABLE');
    store.recover();
    expectNoNewToken(await app.get('/me', token));
  });

  it('is 401 when the claims source says null, and the session is over', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    app.users.remove('alice');
    expectRefusal(await app.post(PATH, token), 'TOKEN_REVOKED');
    app.users.set('alice', { plan: 'free' });
    expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
  });

  it('keeps the claims where there is no claims source', async () => {
    const app = await start({ claims: undefined });
    const token = await app.logIn('alice', { plan: 'premium' });
    clock.advance('1m');
    const refreshed = claimsOf(refreshedBy(await app.post(PATH, token)));
    expect(refreshed).toMatchObject({ plan: 'premium' });
    expect(refreshed.exp).toBeGreaterThan(claimsOf(token).exp);
  });

  it('goes no further than session.maxAge from the log-in, then only a new log-in continues', async () => {
    const app = await start({ accessToken: { expiresIn: '15m' }, session: { maxAge: '20m' } });
    const token = await app.logIn('alice');
    const end = claimsOf(token).auth_time + 20 * 60;
    clock.advance('10m');
    const refreshed = refreshedBy(await app.post(PATH, token));
    expect(claimsOf(refreshed).exp).toBe(end);
    clock.advance('10m');
    // The tolerance for clocks still lets the token run, but there is nothing left to renew.
    expectRefusal(await app.post(PATH, refreshed), 'SESSION_EXPIRED');
  });

  it('is TokenService.refresh() for those who have no route', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('1m');
    await app.change('alice', { plan: 'premium' });
    const issued = await app.tokens.refresh(token);
    expect(issued.claims).toMatchObject({ plan: 'premium', sid: claimsOf(token).sid });
    expectNewToken(await app.get('/me', token), { jti: issued.claims.jti });
    await expect(app.tokens.refresh('not-a-token')).rejects.toMatchObject({
      code: 'TOKEN_INVALID',
    });
  });
});

describe.each(PLATFORMS)('The refresh route: %s', (platform) => {
  const start = (options: Partial<JwtStateOptions>, account = true) =>
    startApp({ platform, options, account });

  afterEach(closeApps);

  it('is found where refresh.path says, and there only', async () => {
    const app = await start({ refresh: { path: 'session/token' } });
    const token = await app.logIn();
    refreshedBy(await app.post('/session/token', token));
    expect((await app.post(PATH, token)).status).toBe(404);
  });

  it('is not there where refresh.path is false', async () => {
    const app = await start({ refresh: { path: false } });
    expect((await app.post(PATH, await app.logIn())).status).toBe(404);
  });

  it('answers POST only', async () => {
    const app = await start({});
    expect((await app.get(PATH, await app.logIn())).status).toBe(404);
  });

  it('gives no token in a service that only verifies', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const store = TestStore.create('memory');
    const issuer = await startApp({
      platform,
      store,
      options: { keys: { algorithm: 'ES256', privateKey } },
    });
    const verifier = await startApp({
      platform,
      store,
      options: { keys: { algorithm: 'ES256', publicKey } },
      account: false,
    });
    const token = await issuer.logIn();
    expect(await verifier.post(PATH, token)).toMatchObject({ status: 404, token: undefined });
    expectNoNewToken(await verifier.get('/me', token));
  });
});

function refreshedBy({ status, body }: Reply): string {
  expect({ status, ...body }).toMatchObject({ status: 200, token_type: 'Bearer' });
  return body.access_token;
}
