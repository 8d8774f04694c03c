import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Post, UseGuards } from '@nestjs/common';
import {
  JwtStateConfigError,
  JwtStateGuard,
  type JwtStateOptions,
  type KeyOptions,
  ReissuesToken,
  type RemoteKeyOptions,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { forge } from '../support/forge.js';
import { eventually } from '../support/latch.js';
import { claimsOf, clock, closeApps, MATRIX, startApp, type TestApp } from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

const pair = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const [first, second] = [pair(), pair()];
const FIRST: KeyOptions = { algorithm: 'ES256', privateKey: first.privateKey, kid: 'first' };
const FIRST_PUBLIC: KeyOptions = { algorithm: 'ES256', publicKey: first.publicKey, kid: 'first' };
const SECOND: KeyOptions = { algorithm: 'ES256', privateKey: second.privateKey, kid: 'second' };
const SECOND_PUBLIC: KeyOptions = {
  algorithm: 'ES256',
  publicKey: second.publicKey,
  kid: 'second',
};

describe.each(MATRIX)('A service that only verifies: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let users: Users;
  let issuing: TestApp;
  let verifying: TestApp;

  const startIssuing = (options: Partial<JwtStateOptions> = {}) =>
    startApp({ platform, store, users, options: { keys: FIRST, jwks: true, ...options } });
  /** It cannot read the truth either: that is the issuing service's. */
  const startVerifying = (options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      store,
      account: false,
      options: { keys: FIRST_PUBLIC, claims: undefined, ...options },
    });

  beforeEach(async () => {
    store = TestStore.create(kind);
    users = new Users();
    issuing = await startIssuing();
  });
  afterEach(closeApps);

  describe('with the public key', () => {
    beforeEach(async () => {
      verifying = await startVerifying();
    });

    it('lets an active token run with its claims, at the cost of one look-up', async () => {
      const token = await issuing.logIn('alice');
      // The first of all looks tells the store how long tokens live.
      await verifying.get('/me', token);
      store.lookups = 0;
      expectNoNewToken(await verifying.get('/me', token), { ...claimsOf(token), plan: 'free' });
      // Memory answers key by key; in Redis it is one command.
      if (kind === 'Redis') expect(store.lookups).toBe(1);
    });

    it('refuses a revoked one, by whomever it was revoked', async () => {
      const [here, there] = [await issuing.logIn('alice'), await issuing.logIn('bob')];
      await issuing.tokens.revoke({ token: here });
      await verifying.tokens.revoke({ sub: 'bob' });
      for (const app of [issuing, verifying]) {
        expectRefusal(await app.get('/me', here), 'TOKEN_REVOKED');
        expectRefusal(await app.get('/me', there), 'TOKEN_REVOKED');
      }
    });

    it('runs a superseded one in grace with the claims of the tip, and delivers nothing', async () => {
      const token = await issuing.logIn('alice');
      await issuing.change('alice', { plan: 'premium' });
      const next = expectNewToken(await issuing.get('/me', token), { plan: 'premium' });
      await issuing.change('alice', { plan: 'team' });
      const tip = expectNewToken(await issuing.get('/me', next), { plan: 'team' });
      const reply = await verifying.get('/me', token);
      expectNoNewToken(reply, { plan: 'team' });
      expect(reply.body).toEqual(claimsOf(tip));
      clock.advance('31s');
      expectRefusal(await verifying.get('/me', token), 'TOKEN_SUPERSEDED');
      expectNoNewToken(await verifying.get('/me', tip), { plan: 'team' });
    });

    it('refuses a stale one, which the client then renews where it was issued', async () => {
      const token = await issuing.logIn('alice');
      await issuing.change('alice', { plan: 'premium' });
      expectRefusal(await verifying.get('/me', token), 'TOKEN_STALE');
      await expect(verifying.tokens.verify(token)).rejects.toMatchObject({ code: 'TOKEN_STALE' });
      const { body } = await issuing.post('/auth/refresh-token', token);
      expectNoNewToken(await verifying.get('/me', body.access_token), { plan: 'premium' });
    });

    it('refuses a superseded one in grace whose tip is stale', async () => {
      const token = await issuing.logIn('alice');
      await issuing.change('alice', { plan: 'premium' });
      expectNewToken(await issuing.get('/me', token), { plan: 'premium' });
      await issuing.change('alice', { plan: 'free' });
      expectRefusal(await verifying.get('/me', token), 'TOKEN_STALE');
    });

    it('has no refresh route', async () => {
      const reply = await verifying.post('/auth/refresh-token', await issuing.logIn('alice'));
      expect(reply).toMatchObject({ status: 404, token: undefined });
    });

    it('issues, reissues and refreshes nothing', async () => {
      const token = await issuing.logIn('alice');
      const verified = await verifying.tokens.verify(token);
      expect(verified).toEqual(claimsOf(token));
      const refusal = { status: 500, code: 'NO_SIGNING_KEY' };
      await expect(verifying.tokens.issue('alice')).rejects.toMatchObject(refusal);
      await expect(verifying.tokens.reissue(verified)).rejects.toMatchObject(refusal);
      await expect(verifying.tokens.refresh(token)).rejects.toMatchObject(refusal);
    });

    it('does not boot with a route that reissues', async () => {
      @Controller()
      @UseGuards(JwtStateGuard)
      class ChangingController {
        @Post('change')
        @ReissuesToken()
        change() {}
      }
      const boot = startApp({
        platform,
        store,
        account: false,
        controllers: [ChangingController],
        options: { keys: FIRST_PUBLIC },
      });
      await expect(boot).rejects.toThrow(JwtStateConfigError);
      await expect(boot).rejects.toThrow(/ChangingController\.change: this service only verifies/);
    });

    it('is 503, not 401, where the store does not answer', async () => {
      const token = await issuing.logIn('alice');
      store.fail();
      expectRefusal(await verifying.get('/me', token), 'DENY_LIST_UNAVAILABLE');
      store.recover();
    });
  });

  describe('with the published keys', () => {
    let gate: Gate;
    const startRemote = (keys: Partial<RemoteKeyOptions> = {}) =>
      startVerifying({
        keys: {
          jwksUri: `${gate.url}/.well-known/jwks.json`,
          algorithms: ['ES256'],
          cooldown: '30s',
          maxAge: '10m',
          ...keys,
        },
      });
    const withKid = (kid: string, token: string) =>
      forge({
        payload: claimsOf(token),
        algorithm: 'ES256',
        key: first.privateKey,
        header: { kid },
      });

    beforeEach(async () => {
      gate = await Gate.before(issuing);
      verifying = await startRemote();
    });
    afterEach(() => gate.shut());

    it('goes full circle: log-in, request, change, refresh, log-out', async () => {
      const token = await issuing.logIn('alice');
      expectNoNewToken(await verifying.get('/me', token), { plan: 'free' });
      await issuing.change('alice', { plan: 'premium' });
      expectRefusal(await verifying.get('/me', token), 'TOKEN_STALE');
      const { access_token } = (await issuing.post('/auth/refresh-token', token)).body;
      expectNoNewToken(await verifying.get('/me', access_token), { plan: 'premium' });
      expectNoNewToken(await verifying.get('/me', token), { plan: 'premium' });
      await issuing.post('/logout', access_token);
      expectRefusal(await verifying.get('/me', access_token), 'TOKEN_REVOKED');
      expectRefusal(await verifying.get('/me', token), 'TOKEN_REVOKED');
      expect(gate.requests).toBe(1);
    });

    it('fetches the keys with the first token, once for all who come at once', async () => {
      expect(gate.requests).toBe(0);
      const token = await issuing.logIn('alice');
      const replies = await Promise.all(
        Array.from({ length: 20 }, () => verifying.get('/me', token)),
      );
      expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
      expect(gate.requests).toBe(1);
    });

    it('refuses no token while keys are rotated in order: publish, sign, drop', async () => {
      let token = await issuing.logIn('alice');
      expectNoNewToken(await verifying.get('/me', token));
      gate.target = await startIssuing({ keys: [FIRST, SECOND_PUBLIC] });
      // From half of `maxAge` on the set is fetched again, behind a request that need not wait.
      clock.advance('5m');
      expectNoNewToken(await verifying.get('/me', token));
      await eventually(() => expect(gate.requests).toBe(2));
      const switched = await startIssuing({ keys: [SECOND, FIRST_PUBLIC] });
      gate.target = switched;
      const next = await switched.logIn('alice');
      for (const each of [token, next]) expectNoNewToken(await verifying.get('/me', each));
      token = (await switched.post('/auth/refresh-token', token)).body.access_token;
      clock.advance('10m');
      gate.target = await startIssuing({ keys: [SECOND] });
      for (const each of [token, next]) expectNoNewToken(await verifying.get('/me', each));
      expect(gate.requests).toBe(3);
    });

    it('follows a successor that was recorded under a new key', async () => {
      const token = await issuing.logIn('alice');
      expectNoNewToken(await verifying.get('/me', token));
      const switched = await startIssuing({ keys: [SECOND, FIRST_PUBLIC] });
      gate.target = switched;
      clock.advance('30s');
      await switched.change('alice', { plan: 'premium' });
      expectNewToken(await switched.get('/me', token), { plan: 'premium' });
      expectNoNewToken(await verifying.get('/me', token), { plan: 'premium' });
    });

    it('finds a key that signs before it was published as soon as the cool-down is over', async () => {
      expectNoNewToken(await verifying.get('/me', await issuing.logIn('alice')));
      const switched = await startIssuing({ keys: [SECOND, FIRST_PUBLIC] });
      gate.target = switched;
      const token = await switched.logIn('alice');
      clock.advance('29s');
      expectRefusal(await verifying.get('/me', token), 'TOKEN_INVALID');
      expect(gate.requests).toBe(1);
      clock.advance('1s');
      expectNoNewToken(await verifying.get('/me', token), { sub: 'alice' });
      expect(gate.requests).toBe(2);
    });

    it('a key that was dropped is refused once its set has reached maxAge', async () => {
      const token = await issuing.logIn('alice');
      expectNoNewToken(await verifying.get('/me', token));
      gate.target = await startIssuing({ keys: [SECOND] });
      clock.advance('10m');
      expectRefusal(await verifying.get('/me', token), 'TOKEN_INVALID');
    });

    it('a flood of made-up kids causes one fetch per cool-down, and never asks the store', async () => {
      const token = await issuing.logIn('alice');
      const flood = async () => {
        const forged = Array.from({ length: 40 }, () => withKid(randomUUID(), token));
        const replies = await Promise.all(forged.map((bad) => verifying.get('/me', bad)));
        for (const reply of replies) expectRefusal(reply, 'TOKEN_INVALID');
      };
      store.lookups = 0;
      await flood();
      await flood();
      expect({ requests: gate.requests, lookups: store.lookups }).toEqual({
        requests: 1,
        lookups: 0,
      });
      expectNoNewToken(await verifying.get('/me', token));
      clock.advance('30s');
      await flood();
      await flood();
      expect(gate.requests).toBe(2);
      expectNoNewToken(await verifying.get('/me', token));
    });

    it.each(['__proto__', 'constructor', 'first ', '', '../first'])(
      'the kid %j names none of them',
      async (kid) => {
        const token = await issuing.logIn('alice');
        expectNoNewToken(await verifying.get('/me', withKid('first', token)));
        expectRefusal(await verifying.get('/me', withKid(kid, token)), 'TOKEN_INVALID');
      },
    );

    it('a published key is no HMAC secret', async () => {
      const token = await issuing.logIn('alice');
      expectNoNewToken(await verifying.get('/me', token));
      const pem = first.publicKey.export({ format: 'pem', type: 'spki' });
      const bad = forge({ payload: claimsOf(token), key: pem, header: { kid: 'first' } });
      expectRefusal(await verifying.get('/me', bad), 'TOKEN_INVALID');
    });

    it('is 503, never 401, while keys were never read; and well again a second after they can be', async () => {
      const token = await issuing.logIn('alice');
      await gate.shut();
      for (let time = 0; time < 3; time++) {
        expectRefusal(await verifying.get('/me', token), 'KEYS_UNAVAILABLE');
        const verified = verifying.tokens.verify(token);
        await expect(verified).rejects.toMatchObject({ status: 503, code: 'KEYS_UNAVAILABLE' });
      }
      await gate.open();
      clock.advance('1s');
      expectNoNewToken(await verifying.get('/me', token), { sub: 'alice' });
    });

    it('serves known kids through an outage until maxAge, and is 503 for all others', async () => {
      const token = await issuing.logIn('alice');
      expectNoNewToken(await verifying.get('/me', token));
      await gate.shut();
      clock.advance('30s');
      expectRefusal(await verifying.get('/me', withKid('second', token)), 'KEYS_UNAVAILABLE');
      clock.advance('569s');
      expectNoNewToken(await verifying.get('/me', token));
      clock.advance('2s');
      expectRefusal(await verifying.get('/me', token), 'KEYS_UNAVAILABLE');
      await gate.open();
      clock.advance('1s');
      expectNoNewToken(await verifying.get('/me', token));
      expectRefusal(await verifying.get('/me', withKid('second', token)), 'TOKEN_INVALID');
    });

    it('is 503 where the answer is no key set', async () => {
      const app = await startRemote({ jwksUri: `${gate.url}/me` });
      expectRefusal(await app.get('/me', await issuing.logIn('alice')), 'KEYS_UNAVAILABLE');
    });

    it('asks an issuer that is down once a second, however many tokens come', async () => {
      const token = await issuing.logIn('alice');
      gate.isBroken = true;
      const storm = () =>
        Promise.all(Array.from({ length: 20 }, () => verifying.get('/me', token)));
      for (const reply of [...(await storm()), ...(await storm())]) {
        expectRefusal(reply, 'KEYS_UNAVAILABLE');
      }
      // `fetch` itself may repeat what it sent over a connection that broke; 40 tokens are not 40 requests.
      const asked = gate.requests;
      expect([1, 2]).toContain(asked);
      clock.advance('1s');
      await storm();
      expect([1, 2]).toContain(gate.requests - asked);
    });
  });
});

/** Stands before the issuing service: counts, fails, and can lead to the next version of it. */
class Gate {
  requests = 0;
  isBroken = false;
  private server: Server | undefined;
  private port = 0;

  private constructor(public target: TestApp) {}

  static async before(target: TestApp): Promise<Gate> {
    const gate = new Gate(target);
    await gate.open();
    return gate;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async open(): Promise<void> {
    const server = createServer(async ({ url }, response) => {
      this.requests += 1;
      if (this.isBroken) return void response.writeHead(500).end();
      const answer = await fetch(this.target.url + url);
      const headers = { 'content-type': answer.headers.get('content-type') ?? '' };
      response.writeHead(answer.status, headers).end(await answer.text());
    });
    await once(server.listen(this.port, '127.0.0.1'), 'listening');
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
  }

  /** Nobody listens any more. */
  async shut(): Promise<void> {
    const { server } = this;
    if (!server) return;
    this.server = undefined;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
}
