import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Post, UseGuards } from '@nestjs/common';
import { exportJWK, type JWTHeaderParameters, type JWTPayload, SignJWT } from 'jose';
import {
  CurrentToken,
  type ForeignIssuerOptions,
  JwtStateGuard,
  type JwtStateOptions,
  type KeyOptions,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { claimsOf, clock, closeApps, MATRIX, startApp, type TestApp } from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

const seconds = () => Math.floor(clock.now() / 1000);

/** Another product with users, keys and a key server of its own. */
class IdentityProvider {
  isDown = false;
  readonly pair = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  readonly issuer: string;
  private server: Server | undefined;
  private url = '';

  constructor(private readonly name: string) {
    this.issuer = `https://${name}.example`;
  }

  get kid(): string {
    return `${this.name}-key`;
  }

  /** What it takes to trust it. */
  get options(): ForeignIssuerOptions {
    return {
      issuer: this.issuer,
      audience: 'api',
      keys: { jwksUri: this.url, algorithms: ['ES256'] },
      expiresIn: '1h',
    };
  }

  async listen(): Promise<void> {
    const jwk = { ...(await exportJWK(this.pair.publicKey)), kid: this.kid, alg: 'ES256' };
    this.server = createServer((_, response) => {
      if (this.isDown) return void response.writeHead(500).end();
      response.end(JSON.stringify({ keys: [jwk] }));
    });
    await once(this.server.listen(0, '127.0.0.1'), 'listening');
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/keys`;
  }

  close(): void {
    this.server?.close();
    this.server?.closeAllConnections();
  }

  /** A token of alice, for an hour, with a fault where one is given; `undefined` leaves out. */
  token(claims: JWTPayload = {}, { header, key }: Fault = {}): Promise<string> {
    const iat = claims.iat ?? seconds();
    const payload = { ...this.payload, iat, exp: iat + 3600, jti: randomUUID(), ...claims };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: this.kid, ...header })
      .sign(key ?? this.pair.privateKey);
  }

  private get payload(): JWTPayload {
    return { iss: this.issuer, aud: 'api', sub: 'alice', scope: 'read' };
  }
}

interface Fault {
  header?: Partial<JWTHeaderParameters>;
  key?: KeyObject | undefined;
}

const own = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const OWN: KeyOptions = { algorithm: 'ES256', privateKey: own.privateKey, kid: 'own' };
const OWN_ISSUER = 'https://own.example';

const idp = new IdentityProvider('idp');
const partner = new IdentityProvider('partner');

@Controller()
@UseGuards(JwtStateGuard)
class ReissuingController {
  constructor(private readonly tokens: TokenService) {}

  @Post('reissue')
  async reissue(@CurrentToken() token: VerifiedToken) {
    return this.tokens.reissue(token, { plan: 'premium' });
  }

  @Post('stage')
  @ReissuesToken()
  async stage(@CurrentToken() token: VerifiedToken) {
    await this.tokens.reissue(token, { plan: 'premium' });
  }
}

beforeAll(async () => {
  for (const provider of [idp, partner]) await provider.listen();
});
afterAll(() => {
  for (const provider of [idp, partner]) provider.close();
});

describe.each(MATRIX)('Tokens of other issuers: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let users: Users;
  const start = (options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      store,
      users,
      controllers: [ReissuingController],
      options: { keys: OWN, issuer: OWN_ISSUER, foreignIssuers: [idp.options], ...options },
    });
  const startVerifying = (options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      store,
      account: false,
      options: { keys: undefined, claims: undefined, foreignIssuers: [idp.options], ...options },
    });

  beforeEach(() => {
    store = TestStore.create(kind);
    users = new Users();
  });
  afterEach(() => {
    idp.isDown = false;
    return closeApps();
  });

  describe('are accepted', () => {
    it.each<[string, () => Promise<string>, Partial<ForeignIssuerOptions>?]>([
      ['as typ JWT', () => idp.token()],
      ['as typ at+jwt', () => idp.token({}, { header: { typ: 'at+jwt' } })],
      ['as another typ, where that is named', () => typed('idp+jwt'), { types: ['IDP+jwt'] }],
      ['without typ, where that is named', () => typed(undefined), { types: [''] }],
      ['for several, this service among them', () => idp.token({ aud: ['web', 'api'] })],
      ['for one of the names of this service', () => idp.token(), { audience: ['x', 'api'] }],
      ['with auth_time and nbf', () => idp.token({ auth_time: seconds() - 60, nbf: seconds() })],
    ])('%s, with their own claims, and nothing is delivered', async (_name, make, options = {}) => {
      const app = await start({ foreignIssuers: [{ ...idp.options, ...options }] });
      const token = await make();
      const { sub, scope, iat, exp } = claimsOf(token);
      const reply = await app.get('/me', token);
      expectNoNewToken(reply, { iss: idp.issuer, sub, scope, iat, exp });
      expect(await app.tokens.verify(token)).toEqual(reply.body);
      expect(users.asked).toBe(0);
    });

    const typed = (typ: string | undefined) => idp.token({}, { header: { typ } as never });

    it.each<[string, () => Promise<string>, Partial<ForeignIssuerOptions>?]>([
      ['of an issuer that is not listed', () => partner.token()],
      ['without iss', () => idp.token({ iss: undefined })],
      ['with an iss that is a list', () => idp.token({ iss: [idp.issuer] as never })],
      ['for another audience', () => idp.token({ aud: 'web' })],
      ['without audience', () => idp.token({ aud: undefined })],
      ['with an empty audience', () => idp.token({ aud: [] })],
      ['signed with another key', () => idp.token({}, { key: partner.pair.privateKey })],
      ['under another kid', () => idp.token({}, { header: { kid: partner.kid } })],
      ['without kid', () => idp.token({}, { header: { kid: undefined } as never })],
      ['without typ', () => typed(undefined)],
      ['as typ next+jwt', () => typed('next+jwt')],
      ['as typ rt+jwt', () => typed('rt+jwt')],
      ['as typ session+jwt', () => typed('session+jwt')],
      ['as typ JWT, where another is named', () => typed('JWT'), { types: ['at+jwt'] }],
      ['without jti', () => idp.token({ jti: undefined })],
      ['with an empty jti', () => idp.token({ jti: '' })],
      ['without sub', () => idp.token({ sub: undefined })],
      ['without exp', () => idp.token({ exp: undefined })],
      ['without iat', () => idp.token({ iat: undefined, exp: seconds() + 60 })],
      ['from the future', () => idp.token({ iat: seconds() + 60 })],
      ['not valid yet', () => idp.token({ nbf: seconds() + 60 })],
      ['that live longer than they may', () => idp.token({ exp: seconds() + 3601 })],
      ['of a subject that is not ours', () => idp.token(), { subject: () => undefined }],
      [
        'of a subject that cannot be read',
        () => idp.token(),
        { subject: ({ email }) => (email as string).toLowerCase() },
      ],
    ])('but not those %s', async (_name, make, options = {}) => {
      const app = await start({ foreignIssuers: [{ ...idp.options, ...options }] });
      const bad = await make();
      store.lookups = 0;
      expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
      await expect(app.tokens.verify(bad)).rejects.toMatchObject({ code: 'TOKEN_INVALID' });
      await expect(app.tokens.revoke({ token: bad })).rejects.toMatchObject({
        code: 'INVALID_TARGET',
      });
      expect(store.lookups).toBe(0);
    });

    it('until they expire', async () => {
      const app = await start();
      const token = await idp.token();
      clock.advance('3606s');
      expectRefusal(await app.get('/me', token), 'TOKEN_EXPIRED');
    });

    it('as those of the subject that the application sees in them', async () => {
      const subject: ForeignIssuerOptions['subject'] = ({ sub, email }) =>
        typeof email === 'string' ? email : `idp|${sub}`;
      const app = await start({ foreignIssuers: [{ ...idp.options, subject }] });
      const plain = await idp.token();
      expectNoNewToken(await app.get('/me', plain), { sub: 'idp|alice' });
      const named = await idp.token({ email: 'alice@example.org' });
      expectNoNewToken(await app.get('/me', named), { sub: 'alice@example.org' });
      await app.tokens.revoke({ sub: 'idp|alice' });
      expectRefusal(await app.get('/me', plain), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', named));
    });

    it('beside those of this service, at the cost of one look-up each', async () => {
      const app = await start();
      const [ours, theirs] = [await app.logIn('alice'), await idp.token()];
      expectNoNewToken(await app.get('/me', theirs), { iss: idp.issuer });
      store.lookups = 0;
      expectNoNewToken(await app.get('/me', ours), { iss: OWN_ISSUER });
      expectNoNewToken(await app.get('/me', theirs), { iss: idp.issuer });
      if (kind === 'Redis') expect(store.lookups).toBe(2);
    });

    it('by a service that has no keys of its own, and nothing else by it', async () => {
      const issuing = await start();
      const app = await startVerifying();
      expectNoNewToken(await app.get('/me', await idp.token()), { sub: 'alice' });
      expectRefusal(await app.get('/me', await issuing.logIn('alice')), 'TOKEN_INVALID');
      await expect(app.tokens.issue('alice')).rejects.toMatchObject({ code: 'NO_SIGNING_KEY' });
    });

    it('also with local keys, where nothing is fetched', async () => {
      const keys: KeyOptions = {
        algorithm: 'ES256',
        publicKey: idp.pair.publicKey,
        kid: idp.kid,
      };
      idp.isDown = true;
      const app = await start({ foreignIssuers: [{ ...idp.options, keys }] });
      expectNoNewToken(await app.get('/me', await idp.token()), { sub: 'alice' });
    });

    it('as 503 while their issuer’s keys cannot be read, which concerns nobody else’s', async () => {
      const app = await start({ foreignIssuers: [idp.options, partner.options] });
      idp.isDown = true;
      expectRefusal(await app.get('/me', await idp.token()), 'KEYS_UNAVAILABLE');
      expectNoNewToken(await app.get('/me', await partner.token()));
      expectNoNewToken(await app.get('/me', await app.logIn('alice')));
      idp.isDown = false;
      clock.advance('1s');
      expectNoNewToken(await app.get('/me', await idp.token()));
    });
  });

  describe('are told apart from all others', () => {
    const OWN_KEY = { key: own.privateKey, header: { kid: 'own' } };

    it.each<[string, () => Promise<string>]>([
      ['own key, their iss', () => idp.token({}, OWN_KEY)],
      [
        'own key, their iss, our typ',
        () => idp.token({}, { ...OWN_KEY, header: { kid: 'own', typ: 'at+jwt' } }),
      ],
      ['own key under their kid, their iss', () => idp.token({}, { key: own.privateKey })],
      ['their key, our iss', () => idp.token({ iss: OWN_ISSUER }, typedAs('at+jwt'))],
      [
        'their key under our kid, our iss',
        () => idp.token({ iss: OWN_ISSUER }, { header: { kid: 'own', typ: 'at+jwt' } }),
      ],
      ['the key of one, the iss of another', () => idp.token({ iss: partner.issuer })],
      [
        'the key of one under the kid of another, with its iss',
        () => idp.token({ iss: partner.issuer }, { header: { kid: partner.kid } }),
      ],
      [
        'the key and kid of one, the iss of another',
        () => partner.token({ iss: idp.issuer }, { header: { kid: partner.kid } }),
      ],
    ])('%s: 401', async (_name, make) => {
      const app = await start({
        audience: 'api',
        foreignIssuers: [idp.options, partner.options],
      });
      expectRefusal(await app.get('/me', await make()), 'TOKEN_INVALID');
    });

    it('own and foreign claims in one token do not make it ours', async () => {
      const app = await start({ audience: 'api' });
      const { sid, jti, seen } = claimsOf(await app.logIn('alice'));
      const posing = await idp.token(
        { iss: OWN_ISSUER, sid, jti, seen, auth_time: seconds(), exp: seconds() + 600 },
        { header: { kid: 'own', typ: 'at+jwt' } },
      );
      expectRefusal(await app.get('/me', posing), 'TOKEN_INVALID');
    });

    it('a seen of their own counts for nothing', async () => {
      const app = await start();
      await app.tokens.revoke({ sub: 'alice' });
      const { seen } = claimsOf(await app.logIn('alice'));
      expect(seen.revoked).toHaveLength(1);
      const token = await idp.token({ seen });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('one that names the session, the id and the user of our superseded token is not led to its successor', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
      clock.advance('7s');
      const { sid, jti } = claimsOf(token);
      const reply = await app.get('/me', await idp.token({ sid, jti }));
      // Nobody but this service gives out its tokens, and the claims in them.
      expect(reply.token).toBeUndefined();
      expect(reply.body.plan).toBeUndefined();
    });

    it('one that names the session of ours cannot log it out', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const { sid } = claimsOf(token);
      await app.post('/logout', await idp.token({ sid, sub: 'mallory' }));
      expectNoNewToken(await app.get('/me', token));
    });

    const typedAs = (typ: string): Fault => ({ header: { typ } });
  });

  describe('are revoked', () => {
    it('with every other token of their session, where they name one', async () => {
      const app = await start({ foreignIssuers: [idp.options, partner.options] });
      const session = [await idp.token({ sid: 'S1' }), await idp.token({ sid: 'S1' })];
      const others = [await idp.token({ sid: 'S2' }), await partner.token({ sid: 'S1' })];
      const { sid } = await app.tokens.verify(session[0] as string);
      await app.tokens.revoke({ sid });
      for (const token of session) expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      clock.advance('10s');
      expectRefusal(await app.get('/me', await idp.token({ sid: 'S1' })), 'TOKEN_REVOKED');
      for (const token of others) expectNoNewToken(await app.get('/me', token));
    });

    it('one by one, where they name no sid', async () => {
      const app = await start();
      const [asText, asVerified, other] = [await idp.token(), await idp.token(), await idp.token()];
      await app.tokens.revoke({ token: asText });
      await app.tokens.revoke(await app.tokens.verify(asVerified));
      expectRefusal(await app.get('/me', asText), 'TOKEN_REVOKED');
      expectRefusal(await app.get('/me', asVerified), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', other));
    });

    it('though two issuers give one id to two tokens, which are two all the same', async () => {
      const app = await start({ foreignIssuers: [idp.options, partner.options] });
      const [theirs, others] = [await idp.token({ jti: '1' }), await partner.token({ jti: '1' })];
      await app.tokens.revoke({ token: theirs });
      expectRefusal(await app.get('/me', theirs), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', others));
    });

    it('by the log-out route of this service', async () => {
      const app = await start();
      const token = await idp.token();
      expect(await app.post('/logout', token)).toMatchObject({ status: 201, token: undefined });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('with all of their subject, until one comes that is newer', async () => {
      const app = await start();
      const [token, bob] = [await idp.token(), await idp.token({ sub: 'bob' })];
      await app.tokens.revoke({ sub: 'alice' });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', bob));
      clock.advance('7s');
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', await idp.token()));
    });

    it('with all of their tenant', async () => {
      const app = await start({ denyList: { claims: ['tenant'] } });
      const [acme, globex] = [
        await idp.token({ tenant: 'acme' }),
        await idp.token({ tenant: ['globex', 'initech'] }),
      ];
      await app.tokens.revoke({ tenant: 'acme' });
      expectRefusal(await app.get('/me', acme), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', globex));
      await app.tokens.revoke({ tenant: 'initech' });
      expectRefusal(await app.get('/me', globex), 'TOKEN_REVOKED');
    });

    it.each([
      ['revoked', 'TOKEN_REVOKED', (app: TestApp) => app.tokens.revoke({ sub: 'alice' })],
      ['stale', 'TOKEN_STALE', (app: TestApp) => app.tokens.markStale({ sub: 'alice' })],
    ] as const)(
      '%s are those issued up to 5 s after the mark, in whole seconds, and no later ones',
      async (_name, code, mark) => {
        clock.stop();
        const app = await start();
        await mark(app);
        const last = Math.floor((clock.now() + 5_000) / 1000);
        clock.advance('10s');
        for (const iat of [last - 1, last]) {
          expectRefusal(await app.get('/me', await idp.token({ iat })), code);
        }
        expectNoNewToken(await app.get('/me', await idp.token({ iat: last + 1 })));
      },
    );
  });

  describe('are stale after a change', () => {
    it.each([['issuing'], ['verifying']])(
      'in an %s service, until one comes that is newer: nobody here can replace them',
      async (role) => {
        const issuing = await start();
        const app = role === 'issuing' ? issuing : await startVerifying();
        const [token, bob] = [await idp.token(), await idp.token({ sub: 'bob' })];
        await issuing.tokens.markStale({ sub: 'alice' });
        expectRefusal(await app.get('/me', token), 'TOKEN_STALE');
        await expect(app.tokens.verify(token)).rejects.toMatchObject({ code: 'TOKEN_STALE' });
        expectNoNewToken(await app.get('/me', bob));
        clock.advance('7s');
        expectRefusal(await app.get('/me', token), 'TOKEN_STALE');
        expectNoNewToken(await app.get('/me', await idp.token()));
      },
    );
  });

  describe('are never reissued', () => {
    const refusal = { status: 400, code: 'FOREIGN_TOKEN' };

    it('by tokens.reissue() and tokens.refresh()', async () => {
      const app = await start();
      const token = await idp.token();
      const verified = await app.tokens.verify(token);
      await expect(app.tokens.reissue(verified)).rejects.toMatchObject(refusal);
      await expect(app.tokens.refresh(token)).rejects.toMatchObject(refusal);
    });

    it.each(['/reissue', '/stage', '/auth/refresh-token'])('by %s, which says so', async (path) => {
      const app = await start();
      const reply = await app.post(path, await idp.token());
      expect(reply).toMatchObject({ status: 400, token: undefined });
      expect(reply.body).toMatchObject({ statusCode: 400, code: 'FOREIGN_TOKEN' });
    });

    it('by a @ReissuesToken() handler: it runs, delivers nothing, and makes them stale', async () => {
      const app = await start();
      const [token, device] = [await idp.token(), await app.logIn('alice')];
      const reply = await app.post('/plan', token, { plan: 'premium' });
      expect(reply).toMatchObject({ status: 201, body: { changed: 'premium' }, token: undefined });
      expectRefusal(await app.get('/me', token), 'TOKEN_STALE');
      // Her sessions here follow as after any change.
      expectNewToken(await app.get('/me', device), { plan: 'premium' });
    });

    it('by a @ReissuesToken() handler without a claims source either', async () => {
      const app = await start({ claims: undefined });
      const token = await idp.token();
      expect(await app.post('/plan', token, { plan: 'premium' })).toMatchObject({
        status: 201,
        token: undefined,
      });
      expectNoNewToken(await app.get('/me', token));
    });
  });

  it('a loss of the store is not held against them', async () => {
    const app = await start();
    const token = await idp.token();
    expectNoNewToken(await app.get('/me', token));
    await store.wipe();
    expectNoNewToken(await app.get('/me', token));
  });
});
