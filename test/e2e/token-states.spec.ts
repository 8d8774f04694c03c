import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { JwtStateOptions } from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { claimsOf, clock, closeApps, MATRIX, startApp, type TestApp } from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

/** The table of DESIGN.md §2, row by row. */
describe.each(MATRIX)('What the guard decides: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  const start = (options: Partial<JwtStateOptions> = {}) => startApp({ platform, store, options });

  beforeEach(() => {
    store = TestStore.create(kind);
  });
  afterEach(closeApps);

  describe('without a token that holds', () => {
    it('a missing token is 401, and is told no error code', async () => {
      const app = await start();
      const reply = await app.get('/me');
      expectRefusal(reply, 'TOKEN_MISSING');
      expect(reply.headers.get('www-authenticate')).toBe('Bearer realm="api"');
    });

    it('a malformed token is 401', async () => {
      const app = await start();
      expectRefusal(await app.get('/me', 'not-a-token'), 'TOKEN_INVALID');
    });

    it('a token with a bad signature is 401', async () => {
      const app = await start();
      const [header, payload] = (await app.logIn('alice')).split('.');
      const [, , signature] = (await app.logIn('alice')).split('.');
      expectRefusal(await app.get('/me', `${header}.${payload}.${signature}`), 'TOKEN_INVALID');
    });

    it('an expired token is 401, once the tolerance for clocks is over as well', async () => {
      const app = await start({ accessToken: { expiresIn: '15m' }, clockTolerance: '5s' });
      const token = await app.logIn();
      clock.advance('14m');
      expectNoNewToken(await app.get('/me', token));
      clock.advance('66s');
      expectRefusal(await app.get('/me', token), 'TOKEN_EXPIRED');
    });
  });

  describe('an active token', () => {
    it('runs with its claims, and nothing new is sent', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      expectNoNewToken(await app.get('/me', token), { ...claimsOf(token), plan: 'free' });
    });

    it('costs one look-up, and does not ask the claims source', async () => {
      const app = await start();
      const token = await app.logIn();
      const asked = app.users.asked;
      store.lookups = 0;
      await app.get('/me', token);
      // Memory answers key by key; in Redis it is one command.
      if (kind === 'Redis') expect(store.lookups).toBe(1);
      expect(app.users.asked).toBe(asked);
    });
  });

  describe('a revoked token is 401', () => {
    it.each([
      ['a log-out', (app: TestApp, token: string) => app.tokens.revoke({ token })],
      [
        'its session',
        (app: TestApp, token: string) => app.tokens.revoke({ sid: claimsOf(token).sid }),
      ],
      ['its subject', (app: TestApp) => app.tokens.revoke({ sub: 'alice' })],
    ])('after the revocation of %s', async (_name, revoke) => {
      const app = await start();
      const token = await app.logIn('alice');
      const bob = await app.logIn('bob');
      await revoke(app, token);
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', bob));
    });

    it('after the revocation of the value of a claim', async () => {
      const app = await start({ denyList: { claims: ['tenant'] } });
      const [acme, globex] = [
        await app.logIn('alice', { tenant: 'acme' }),
        await app.logIn('alice', { tenant: 'globex' }),
      ];
      await app.tokens.revoke({ tenant: 'acme' });
      expectRefusal(await app.get('/me', acme), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', globex), { tenant: 'globex' });
    });

    it('while a log-in after “log out everywhere” works at once', async () => {
      const app = await start();
      await app.logIn('alice');
      await app.tokens.revoke({ sub: 'alice' });
      expectNoNewToken(await app.get('/me', await app.logIn('alice')));
    });

    it('on all devices but the one that asked for “log out my other devices”', async () => {
      const app = await start();
      const [here, elsewhere] = [await app.logIn('alice'), await app.logIn('alice')];
      await app.tokens.revoke({ sub: 'alice', except: await app.tokens.verify(here) });
      expectNoNewToken(await app.get('/me', here));
      expectRefusal(await app.get('/me', elsewhere), 'TOKEN_REVOKED');
    });

    it('and a dead session does not revive itself as the exception', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const except = await app.tokens.verify(token);
      await app.tokens.revoke({ sub: 'alice' });
      await app.tokens.revoke({ sub: 'alice', except });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('rather than stale, where it is both', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      await app.tokens.revoke({ token });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('rather than superseded, where it is both: its successor is dead too', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), {});
      await app.tokens.revoke({ token: successor });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      expectRefusal(await app.get('/me', successor), 'TOKEN_REVOKED');
    });

    it('for a subject with a number as its id, whichever way it is written', async () => {
      const app = await start();
      app.users.set('7', { plan: 'free' });
      const token = await app.logIn(7);
      expectNoNewToken(await app.get('/me', token), { sub: '7' });
      await app.tokens.revoke({ sub: 7 });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('though its signature is another one', async () => {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      const app = await start({ keys: { algorithm: 'ES256', privateKey } });
      const token = await app.logIn();
      await app.tokens.revoke({ token });
      expectRefusal(await app.get('/me', withMalleatedSignature(token)), 'TOKEN_REVOKED');
    });
  });

  describe('a target that names nothing', () => {
    it.each<[string, unknown]>([
      ['nothing', undefined],
      ['an empty object', {}],
      ['an undefined subject', { sub: undefined }],
      ['an empty subject', { sub: '' }],
      ['a subject that is NaN', { sub: Number.NaN }],
      ['two scopes', { sub: 'alice', sid: 'x' }],
      ['a claim that is not listed', { tenant: 'acme' }],
    ])('is an error, and never everybody: %s', async (_name, target) => {
      const app = await start();
      const token = await app.logIn('alice');
      const refusal = { code: 'INVALID_TARGET' };
      await expect(app.tokens.revoke(target as never)).rejects.toMatchObject(refusal);
      await expect(app.tokens.markStale(target as never)).rejects.toMatchObject(refusal);
      expectNoNewToken(await app.get('/me', token));
    });
  });

  describe('a stale token', () => {
    it('runs with fresh claims, and the response carries the new token', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const reply = await app.get('/me', token);
      expect(reply.body).toMatchObject({ sub: 'alice', plan: 'premium' });
      const successor = expectNewToken(reply, { sub: 'alice', plan: 'premium' });
      expect(claimsOf(successor)).toEqual(reply.body);
      expectNoNewToken(await app.get('/me', successor), { plan: 'premium' });
    });

    it('keeps session, log-in time and expiry; its id is newer', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      clock.advance('5m');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), {});
      const { sid, auth_time, exp, jti } = claimsOf(token);
      expect(claimsOf(successor)).toMatchObject({ sid, auth_time, exp });
      expect(claimsOf(successor).jti > jti).toBe(true);
    });

    it('gets a new expiry where reissue.expiry is “renew”', async () => {
      const app = await start({ reissue: { expiry: 'renew' } });
      const token = await app.logIn('alice');
      clock.advance('5m');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), {});
      expect(claimsOf(successor).exp).toBeGreaterThanOrEqual(claimsOf(token).exp + 300);
    });

    it('may pass a route that its old claims could not, and no longer one that they could', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const upgraded = await app.get('/premium', token);
      expect(upgraded).toMatchObject({ status: 200, body: { report: 42 } });
      await app.change('alice', { plan: 'free' });
      expect((await app.get('/premium', upgraded.token)).status).toBe(403);
    });

    it('is stale on every device of the subject, and on nobody else’s', async () => {
      const app = await start();
      const devices = [await app.logIn('alice'), await app.logIn('alice')];
      const bob = await app.logIn('bob');
      await app.change('alice', { plan: 'premium' });
      for (const token of devices) expectNewToken(await app.get('/me', token), { plan: 'premium' });
      expectNoNewToken(await app.get('/me', bob));
    });

    it('is stale by its session or by the value of a claim as well', async () => {
      const app = await start({ denyList: { claims: ['tenant'] } });
      const token = await app.logIn('alice', { tenant: 'acme' });
      const other = await app.logIn('alice', { tenant: 'globex' });
      await app.tokens.markStale({ tenant: 'acme' });
      const second = expectNewToken(await app.get('/me', token), { tenant: 'acme' });
      await app.tokens.markStale({ sid: claimsOf(token).sid });
      expectNewToken(await app.get('/me', second), { tenant: 'acme' });
      expectNoNewToken(await app.get('/me', other), { tenant: 'globex' });
    });
  });

  describe('a superseded token, in its grace period', () => {
    it('runs with the claims of the tip, and every response carries that tip', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const successor = claimsOf(expectNewToken(await app.get('/me', token), {}));
      for (let time = 0; time < 3; time++) {
        const reply = await app.get('/me', token);
        expect(reply.body).toEqual(successor);
        expect(claimsOf(expectNewToken(reply, {}))).toEqual(successor);
      }
    });

    it('leads past its successor to the tip', async () => {
      const app = await start();
      const first = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const second = expectNewToken(await app.get('/me', first), { plan: 'premium' });
      await app.change('alice', { plan: 'enterprise' });
      const third = expectNewToken(await app.get('/me', second), { plan: 'enterprise' });
      const reply = await app.get('/me', first);
      expectNewToken(reply, { jti: claimsOf(third).jti, plan: 'enterprise' });
    });

    it('does not bring its old claims back after a downgrade; a stale tip is reissued from the tip', async () => {
      const app = await start();
      app.users.set('alice', { plan: 'premium' });
      const token = await app.logIn('alice');
      await app.change('alice', { role: 'admin' });
      const tip = expectNewToken(await app.get('/me', token), { plan: 'premium' });
      await app.change('alice', { plan: 'free' });
      expect((await app.get('/premium', token)).status).toBe(403);
      const successor = expectNewToken(await app.get('/me', token), { plan: 'free' });
      expect(claimsOf(successor).jti).not.toBe(claimsOf(tip).jti);
      expectNewToken(await app.get('/me', tip), { jti: claimsOf(successor).jti, plan: 'free' });
    });

    it('is 503 beyond 16 hops, with nothing consumed', async () => {
      const app = await start();
      const chain = [await app.logIn('alice')];
      for (let hop = 1; hop <= 17; hop++) {
        await app.tokens.markStale({ sub: 'alice' });
        chain.push(expectNewToken(await app.get('/me', chain.at(-1)), {}));
      }
      const tip = claimsOf(chain.at(-1)).jti;
      expectRefusal(await app.get('/me', chain[0]), 'TOO_MANY_SUCCESSORS');
      expectNewToken(await app.get('/me', chain[1]), { jti: tip });
      expectNoNewToken(await app.get('/me', chain.at(-1)));
    });
  });

  describe('a superseded token, after its grace period', () => {
    it('is 401, while its successor lives', async () => {
      const app = await start({ reissue: { gracePeriod: '30s' } });
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), {});
      clock.advance('31s');
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
      expectNoNewToken(await app.get('/me', successor));
    });

    it('is 401 though it was used all the time: use does not extend the grace', async () => {
      const app = await start({ reissue: { gracePeriod: '30s' } });
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      await app.get('/me', token);
      for (let time = 0; time < 2; time++) {
        clock.advance('14s');
        expectNewToken(await app.get('/me', token), {});
      }
      clock.advance('3s');
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
    });

    it('is 401 when the record that led to its successor has gone', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), {});
      await store.wipe(/:next:/);
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
      expectNoNewToken(await app.get('/me', successor));
    });

    it('is 401 at once where the grace period is 0', async () => {
      const app = await start({ reissue: { gracePeriod: 0 } });
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), {});
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
      expectNoNewToken(await app.get('/me', successor));
    });
  });

  describe('a store that cannot answer', () => {
    it('is 503 with Retry-After, never 401, and the token works once it answers again', async () => {
      const app = await start();
      const token = await app.logIn();
      store.fail();
      expectRefusal(await app.get('/me', token), 'DENY_LIST_UNAVAILABLE');
      store.recover();
      expectNoNewToken(await app.get('/me', token));
    });

    it('is not asked again and again: after a few failures it is left alone for a second', async () => {
      const app = await start();
      const token = await app.logIn();
      store.fail();
      for (let time = 0; time < 3; time++) await app.get('/me', token);
      store.lookups = 0;
      expectRefusal(await app.get('/me', token), 'DENY_LIST_UNAVAILABLE');
      expect(store.lookups).toBe(0);
      store.recover();
      clock.advance('1s');
      expectNoNewToken(await app.get('/me', token));
    });

    it('lets requests run where onUnavailable is “accept”, with the claims they have', async () => {
      const app = await start({ denyList: { onUnavailable: 'accept' } });
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      store.fail();
      expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('lets nothing but requests run: refresh, reissue, revoke and markStale stay 503', async () => {
      const app = await start({ denyList: { onUnavailable: 'accept' } });
      const token = await app.logIn('alice');
      const current = await app.tokens.verify(token);
      store.fail();
      expectRefusal(await app.post('/auth/refresh-token', token), 'DENY_LIST_UNAVAILABLE');
      expectRefusal(await app.post('/logout', token), 'DENY_LIST_UNAVAILABLE');
      const unavailable = { code: 'DENY_LIST_UNAVAILABLE' };
      await expect(app.tokens.reissue(current)).rejects.toMatchObject(unavailable);
      await expect(app.tokens.revoke({ sub: 'alice' })).rejects.toMatchObject(unavailable);
      await expect(app.tokens.markStale({ sub: 'alice' })).rejects.toMatchObject(unavailable);
    });

    it('still refuses a forged token at once', async () => {
      const app = await start({ denyList: { onUnavailable: 'accept' } });
      store.fail();
      expectRefusal(await app.get('/me', 'not-a-token'), 'TOKEN_INVALID');
    });
  });

  describe('a store that has lost its entries', () => {
    it('refuses the tokens of before; new ones work', async () => {
      const app = await start();
      const token = await app.logIn();
      await store.wipe();
      expectRefusal(await app.get('/me', token), 'DENY_LIST_LOST');
      expectRefusal(await app.get('/me', token), 'DENY_LIST_LOST');
      expectNoNewToken(await app.get('/me', await app.logIn()));
    });

    it('treats them as stale where onLoss is “reissue”', async () => {
      const app = await start({ denyList: { onLoss: 'reissue' } });
      const token = await app.logIn('alice');
      await store.wipe();
      app.users.set('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), { plan: 'premium' });
      expectNoNewToken(await app.get('/me', successor));
    });

    it('lets them run where onLoss is “accept”', async () => {
      const app = await start({ denyList: { onLoss: 'accept' } });
      const token = await app.logIn();
      await store.wipe();
      expectNoNewToken(await app.get('/me', token));
    });
  });

  describe('a claims source', () => {
    it('that throws is 503, and consumes nothing: the next request with the same token works', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      app.users.fail('throws');
      expectRefusal(await app.get('/me', token), 'CLAIMS_UNAVAILABLE');
      app.users.recover();
      clock.advance('31s');
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('that takes too long is 503, and consumes nothing', async () => {
      const app = await start({ reissue: { claimsTimeout: '50ms' } });
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      app.users.fail('hangs');
      expectRefusal(await app.get('/me', token), 'CLAIMS_UNAVAILABLE');
      app.users.recover();
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('that says null revokes the session: 401, also when it says something again', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      app.users.remove('alice');
      await app.tokens.markStale({ sub: 'alice' });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      app.users.set('alice', { plan: 'free' });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('that says null is 401 even if that cannot be written down', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      app.users.remove('alice');
      await app.tokens.markStale({ sub: 'alice' });
      store.fail('write');
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('that says null at a log-in gives no token', async () => {
      const app = await start();
      app.users.remove('alice');
      const refusal = { code: 'SUBJECT_REFUSED', status: 403 };
      await expect(app.tokens.issue('alice')).rejects.toMatchObject(refusal);
    });
  });

  describe('a service that only verifies', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    let issuer: TestApp;
    let verifier: TestApp;

    beforeEach(async () => {
      issuer = await start({ keys: { algorithm: 'ES256', privateKey } });
      verifier = await startApp({
        platform,
        store,
        users: issuer.users,
        options: { keys: { algorithm: 'ES256', publicKey }, refresh: { path: false } },
        // The account controller has a @ReissuesToken() route, which needs a signing key.
        account: false,
      });
    });

    it('lets an active token run, and no revoked one', async () => {
      const token = await issuer.logIn('alice');
      expectNoNewToken(await verifier.get('/me', token), { sub: 'alice' });
      await issuer.tokens.revoke({ token });
      expectRefusal(await verifier.get('/me', token), 'TOKEN_REVOKED');
    });

    it('refuses a stale token with TOKEN_STALE: its client goes to the refresh endpoint', async () => {
      const token = await issuer.logIn('alice');
      await issuer.change('alice', { plan: 'premium' });
      expectRefusal(await verifier.get('/me', token), 'TOKEN_STALE');
      const refreshed = await issuer.post('/auth/refresh-token', token);
      expectNoNewToken(await verifier.get('/me', refreshed.body.access_token), {
        plan: 'premium',
      });
    });

    it('lets a superseded token in grace run with the tip’s claims, and sends nothing', async () => {
      const token = await issuer.logIn('alice');
      await issuer.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await issuer.get('/me', token), {});
      expectNoNewToken(await verifier.get('/me', token), { ...claimsOf(successor) });
    });

    it('refuses a superseded token after the grace period', async () => {
      const token = await issuer.logIn('alice');
      await issuer.change('alice', { plan: 'premium' });
      await issuer.get('/me', token);
      clock.advance('31s');
      expectRefusal(await verifier.get('/me', token), 'TOKEN_SUPERSEDED');
    });

    it('refuses a superseded token in grace whose tip is stale', async () => {
      const token = await issuer.logIn('alice');
      await issuer.change('alice', { plan: 'premium' });
      await issuer.get('/me', token);
      await issuer.change('alice', { plan: 'free' });
      expectRefusal(await verifier.get('/me', token), 'TOKEN_STALE');
    });

    it('has no token to give', async () => {
      await expect(verifier.tokens.issue('alice')).rejects.toMatchObject({
        code: 'NO_SIGNING_KEY',
      });
    });
  });
});

/** The same signature in another spelling: n − s is as good as s to ECDSA. */
function withMalleatedSignature(token: string): string {
  const [header, payload, signature = ''] = token.split('.');
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const bytes = Buffer.from(signature, 'base64url');
  const s = BigInt(`0x${bytes.subarray(32).toString('hex')}`);
  const other = (order - s).toString(16).padStart(64, '0');
  const malleated = Buffer.concat([bytes.subarray(0, 32), Buffer.from(other, 'hex')]);
  return `${header}.${payload}.${malleated.toString('base64url')}`;
}
