import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Post, UseGuards } from '@nestjs/common';
import { JwtService, type JwtSignOptions } from '@nestjs/jwt';
import {
  type Claims,
  CurrentToken,
  JwtStateGuard,
  type JwtStateOptions,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { forge } from '../support/forge.js';
import { claimsOf, clock, closeApps, MATRIX, SECRET, startApp } from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

const RING_SECRET = 'the key ring was rotated when the library came: a new secret';
const OWN: JwtStateOptions['keys'] = { algorithm: 'HS256', secret: SECRET };

const jwt = new JwtService({ secret: SECRET });
const seconds = () => Math.floor(clock.now() / 1000);

/** As an application made them with `@nestjs/jwt` before: `typ: JWT`, and no kid, jti or sid. */
function legacyToken(claims: Claims = {}, options: JwtSignOptions = { expiresIn: '10m' }): string {
  return jwt.sign({ sub: 1, username: 'alice', iat: seconds(), ...claims }, options);
}

/** Claims that the application let somebody choose. */
const chosen = (claims: Claims) =>
  forge({
    header: { typ: 'JWT' },
    payload: { sub: 1, iat: seconds(), exp: seconds() + 600, ...claims },
  });

@Controller()
@UseGuards(JwtStateGuard)
class TenantController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Post('tenant')
  @ReissuesToken({ scope: 'session' })
  async switchTenant(@CurrentToken() token: VerifiedToken, @Body() { tenant }: { tenant: string }) {
    await this.tokens.reissue(token, { tenant });
    return { tenant };
  }

  @Post('fail')
  @ReissuesToken()
  fail(@CurrentToken() token: VerifiedToken) {
    this.users.set(token.sub, { plan: 'half' });
    throw new Error('after it has changed something');
  }
}

describe.each(MATRIX)('Tokens from before: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let users: Users;
  const start = (options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      store,
      users,
      controllers: [TenantController],
      options: { legacy: 'reissue', ...options },
    });
  const startVerifying = (options: Partial<JwtStateOptions> = {}) =>
    startApp({ platform, store, account: false, options: { claims: undefined, ...options } });

  beforeEach(() => {
    store = TestStore.create(kind);
    users = new Users();
    users.set('1', { plan: 'free' });
  });
  afterEach(closeApps);

  describe('are accepted', () => {
    it.each<[string, () => string, Partial<JwtStateOptions>?]>([
      ['as @nestjs/jwt makes them', () => legacyToken()],
      ['with a string as sub', () => legacyToken({ sub: '1' })],
      ['without exp', () => legacyToken({}, {})],
      ['without typ', () => legacyToken({}, { header: { alg: 'HS256', typ: undefined } })],
      ['with typ in lower case', () => legacyToken({}, { header: { alg: 'HS256', typ: 'jwt' } })],
      [
        'with any iss and aud, where that is said',
        () => legacyToken({ iss: 'app', aud: 'web' }),
        { legacy: { issuer: '*', audience: '*' } },
      ],
      [
        'with the iss and aud of this service',
        () => legacyToken({ iss: 'shop', aud: ['web', 'api'] }),
        { issuer: 'shop', audience: 'api' },
      ],
      [
        'with neither, though this service has both',
        () => legacyToken(),
        { issuer: 'shop', audience: 'api' },
      ],
      [
        'with iss and aud that were others then',
        () => legacyToken({ iss: 'old-shop', aud: 'old-api' }),
        {
          issuer: 'shop',
          audience: 'api',
          legacy: { issuer: 'old-shop', audience: ['old-web', 'old-api'] },
        },
      ],
      [
        'with the user under another name',
        () => legacyToken({ sub: undefined, userId: 1 }),
        { legacy: { subject: ({ userId }) => userId as number } },
      ],
      [
        'signed with a key that signs no more',
        () => legacyToken(),
        {
          keys: { algorithm: 'HS256', secret: RING_SECRET, kid: 'new' },
          legacy: { keys: { algorithm: 'HS256', secret: SECRET } },
        },
      ],
      [
        'signed with a key that is not the first of the ring any more',
        () => legacyToken(),
        { keys: [{ algorithm: 'HS512', secret: `${RING_SECRET} of 64 bytes`, kid: 'new' }, OWN] },
      ],
      ['with nbf', () => legacyToken({ nbf: seconds() })],
    ])('%s', async (_name, make, options = {}) => {
      const app = await start(options);
      const token = make();
      const reply = await app.get('/me', token);
      const traded = expectNewToken(reply, { sub: '1', plan: 'free' });
      expect(reply.body).toEqual(claimsOf(traded));
      expectNoNewToken(await app.get('/me', traded), { sub: '1', plan: 'free' });
    });

    it.each<[string, () => string, Partial<JwtStateOptions>?]>([
      ['signed with another secret', () => legacyToken({}, { secret: `${SECRET}!` })],
      ['signed with another algorithm', () => legacyToken({}, { algorithm: 'HS512' })],
      [
        'signed with the key of today, where theirs was another',
        () => legacyToken({}, { secret: RING_SECRET }),
        {
          keys: { algorithm: 'HS256', secret: RING_SECRET },
          legacy: { keys: { algorithm: 'HS256', secret: SECRET } },
        },
      ],
      ['under a kid that nobody has', () => legacyToken({}, { keyid: 'other' })],
      ['of typ next+jwt', () => chosenType('next+jwt')],
      ['of typ rt+jwt', () => chosenType('rt+jwt')],
      ['of typ session+jwt', () => chosenType('session+jwt')],
      ['of typ at+jwt', () => chosenType('at+jwt')],
      ['of a typ that is no string', () => chosenType(['JWT'])],
      ['with an empty typ', () => chosenType('')],
      ['without sub', () => legacyToken({ sub: undefined })],
      ['with a sub that is an object', () => legacyToken({ sub: { id: 1 } })],
      ['with a sub that is a fraction', () => legacyToken({ sub: 1.5 })],
      ['with an empty sub', () => legacyToken({ sub: '' })],
      ['without iat', () => jwt.sign({ sub: 1 }, { noTimestamp: true })],
      ['with iat in the future', () => legacyToken({ iat: seconds() + 60 })],
      ['that live longer than any token may', () => legacyToken({}, { expiresIn: '31d' })],
      ['with another iss', () => legacyToken({ iss: 'other' }), { issuer: 'shop' }],
      ['with another aud', () => legacyToken({ aud: 'other' }), { audience: 'api' }],
      ['with an iss, where this service has none', () => legacyToken({ iss: 'app' })],
      ['with an aud, where this service has none', () => legacyToken({ aud: 'web' })],
      ['with an empty aud', () => legacyToken({ aud: [] }), { audience: 'api' }],
      ['without the iss they had', () => legacyToken(), { legacy: { issuer: 'old-shop' } }],
      ['without the aud they had', () => legacyToken(), { legacy: { audience: 'old-api' } }],
      [
        'of a subject that is nobody',
        () => legacyToken(),
        { legacy: { subject: ({ userId }) => userId as number } },
      ],
      ['where the option is off', () => legacyToken(), { legacy: undefined }],
    ])('but not those %s', async (_name, make, options = {}) => {
      const app = await start(options);
      const bad = make();
      store.lookups = 0;
      expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
      const refusal = { status: 401, code: 'TOKEN_INVALID' };
      await expect(app.tokens.verify(bad)).rejects.toMatchObject(refusal);
      await expect(app.tokens.refresh(bad)).rejects.toMatchObject(refusal);
      const target = { code: 'INVALID_TARGET' };
      await expect(app.tokens.revoke({ token: bad })).rejects.toMatchObject(target);
      expect(store.lookups).toBe(0);
    });

    const chosenType = (typ: unknown) =>
      forge({
        header: { typ },
        payload: { sub: '1', username: 'alice', iat: seconds(), exp: seconds() + 600 },
      });

    it('until they expire', async () => {
      const app = await start();
      const token = legacyToken();
      clock.advance('606s');
      expectRefusal(await app.get('/me', token), 'TOKEN_EXPIRED');
    });

    it('for as long as they would have lived, where they name no end', async () => {
      const app = await start({ legacy: { expiresIn: '1h' } });
      const token = legacyToken({}, {});
      clock.advance('59m');
      expectNewToken(await app.get('/me', token), {});
      const late = legacyToken({}, {});
      clock.advance('3606s');
      expectRefusal(await app.get('/me', late), 'TOKEN_EXPIRED');
    });

    it('with the life they were given, up to that of a session', async () => {
      const app = await start();
      const token = legacyToken({}, { expiresIn: '30d' });
      clock.advance('29d');
      expectNewToken(await app.get('/me', token), {});
    });

    it('with the life that legacy.expiresIn allows them, and no longer one', async () => {
      const app = await start({ legacy: { expiresIn: '1d' } });
      expectNewToken(await app.get('/me', legacyToken({}, { expiresIn: '1d' })), {});
      const longer = legacyToken({}, { expiresIn: 86_401 });
      expectRefusal(await app.get('/me', longer), 'TOKEN_INVALID');
    });
  });

  describe('are traded in with the first request', () => {
    it('for a token of a session that began when they were made', async () => {
      const app = await start({ issuer: 'shop', audience: 'api' });
      const token = legacyToken();
      clock.advance('1m');
      const traded = claimsOf(expectNewToken(await app.get('/me', token), {}));
      expect(traded).toMatchObject({ sub: '1', iss: 'shop', aud: 'api' });
      expect(traded.auth_time).toBe(claimsOf(token).iat);
      expect(traded.seen).not.toHaveProperty('origin');
    });

    it('for what the claims source says', async () => {
      const app = await start();
      const traded = expectNewToken(await app.get('/me', legacyToken({ plan: 'old' })), {
        plan: 'free',
      });
      expect(claimsOf(traded)).not.toHaveProperty('username');
    });

    it('for their own claims, where there is no source', async () => {
      const app = await start({ claims: undefined });
      const token = legacyToken({ plan: 'old', roles: ['a'] });
      expectNewToken(await app.get('/me', token), {
        sub: '1',
        username: 'alice',
        plan: 'old',
        roles: ['a'],
      });
    });

    it('in a cookie, where they came in one', async () => {
      const app = await start({ delivery: { cookie: true } });
      const cookie = `__Host-token=${legacyToken()}`;
      const reply = await app.get('/me', undefined, { cookie });
      expect(reply).toMatchObject({ status: 200, body: { plan: 'free' }, token: undefined });
      const [set = ''] = reply.headers.getSetCookie();
      expect(set).toMatch(/^__Host-token=[\w.-]+;.*HttpOnly/);
      const again = await app.get('/me', undefined, { cookie: set.split(';')[0] ?? '' });
      expectNoNewToken(again, { plan: 'free' });
      expect(again.headers.getSetCookie()).toEqual([]);
    });

    it.each([
      ['until their own exp, where that comes first', '5m', 300],
      ['for the lifetime of ours, where that is shorter', '1d', 900],
    ])('%s', async (_name, expiresIn, lifetime) => {
      const app = await start({ legacy: { expiresIn: '1d' } });
      const token = legacyToken({}, { expiresIn: expiresIn as '5m' });
      const { iat, exp } = claimsOf(expectNewToken(await app.get('/me', token), {}));
      expect(exp - iat).toBeGreaterThanOrEqual(lifetime - 2);
      expect(exp - iat).toBeLessThanOrEqual(lifetime);
      expect(exp).toBeLessThanOrEqual(claimsOf(token).exp);
    });

    it('20 at once, over two instances, and end with one successor', async () => {
      const instances = [await start(), await start()];
      const token = legacyToken();
      const requests = Array.from({ length: 10 }, () =>
        instances.map((app) => app.get('/me', token)),
      );
      const replies = await Promise.all(requests.flat());
      const ids = replies.map((reply) => claimsOf(expectNewToken(reply, { sub: '1' })).jti);
      expect(new Set(ids).size).toBe(1);
    });

    it('once: in grace they lead to that successor, after it they are 401', async () => {
      const app = await start();
      const token = legacyToken();
      const { jti } = claimsOf(expectNewToken(await app.get('/me', token), {}));
      expectNewToken(await app.get('/me', token), { jti });
      clock.advance('31s');
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
    });

    it('and in grace lead to the tip, whatever became of it', async () => {
      const app = await start();
      const token = legacyToken();
      const traded = expectNewToken(await app.get('/me', token), { plan: 'free' });
      await app.change('1', { plan: 'premium' });
      const tip = claimsOf(expectNewToken(await app.get('/me', traded), { plan: 'premium' }));
      expectNewToken(await app.get('/me', token), { jti: tip.jti, plan: 'premium' });
    });

    it('whatever the request ends in', async () => {
      const app = await start();
      const reply = await app.get('/premium', legacyToken());
      expect(reply.status).toBe(403);
      expectNoNewToken(await app.get('/me', reply.token), { plan: 'free' });
    });

    it('and are refused, where the claims source gives that subject no token', async () => {
      const app = await start();
      const token = legacyToken();
      users.remove('1');
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      users.set('1', { plan: 'free' });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('and are not consumed by a request that fails', async () => {
      const app = await start();
      const token = legacyToken();
      users.fail('throws');
      expectRefusal(await app.get('/me', token), 'CLAIMS_UNAVAILABLE');
      users.recover();
      store.fail('write', /next:/);
      expectRefusal(await app.get('/me', token), 'DENY_LIST_UNAVAILABLE');
      store.fail();
      expectRefusal(await app.get('/me', token), 'DENY_LIST_UNAVAILABLE');
      store.recover();
      clock.advance('31s');
      expectNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('but run as they are, where the store is away and that is accepted', async () => {
      const app = await start({ denyList: { onUnavailable: 'accept' } });
      const token = legacyToken({ plan: 'old' });
      store.fail();
      expectNoNewToken(await app.get('/me', token), { sub: '1', plan: 'old' });
      store.recover();
      clock.advance('5s');
      expectNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('and tell the audit log why', async () => {
      const app = await start();
      const told: unknown[] = [];
      app.events.on('reissued', (event) => void told.push(event));
      const { sid, jti } = claimsOf(expectNewToken(await app.get('/me', legacyToken()), {}));
      expect(told).toEqual([expect.objectContaining({ why: 'legacy', sub: '1', sid, jti })]);
    });

    it('each for a session of its own, though they are one user’s', async () => {
      const app = await start();
      const tokens = [legacyToken(), legacyToken({ device: 'phone' })];
      const sids = [];
      for (const token of tokens) sids.push(claimsOf((await app.get('/me', token)).token).sid);
      expect(new Set(sids).size).toBe(2);
    });

    it('until the session they began is older than any may be', async () => {
      const app = await start({ legacy: { expiresIn: '60d' }, session: { maxAge: '30d' } });
      const token = legacyToken({}, { expiresIn: '60d' });
      clock.advance('30d');
      clock.advance('1s');
      expectRefusal(await app.get('/me', token), 'SESSION_EXPIRED');
    });
  });

  describe('are replaced', () => {
    it('by a @ReissuesToken() handler', async () => {
      const app = await start();
      const token = legacyToken();
      const reply = await app.post('/plan', token, { plan: 'premium' });
      const traded = expectNewToken(reply, { sub: '1', plan: 'premium' });
      expectNoNewToken(await app.get('/me', traded), { plan: 'premium' });
      expectNewToken(await app.get('/me', token), { jti: claimsOf(traded).jti });
    });

    it.each([['with'], ['without']])(
      'by the explicit changes of a handler, %s a claims source',
      async (how) => {
        const app = await start(how === 'without' ? { claims: undefined } : {});
        const token = legacyToken();
        const traded = expectNewToken(await app.post('/tenant', token, { tenant: 'acme' }), {
          tenant: 'acme',
        });
        expectNoNewToken(await app.get('/me', traded), { tenant: 'acme' });
      },
    );

    it('with the next request after a handler that failed', async () => {
      const app = await start();
      const token = legacyToken();
      const failed = await app.post('/fail', token, {});
      expect(failed).toMatchObject({ status: 500, token: undefined });
      expectNewToken(await app.get('/me', token), { plan: 'half' });
    });

    it.each([['with'], ['without']])('at the refresh route, %s a claims source', async (how) => {
      const app = await start({
        legacy: { expiresIn: '1d' },
        ...(how === 'without' && { claims: undefined }),
      });
      const token = legacyToken({}, { expiresIn: '5m' });
      const { status, body } = await app.post('/auth/refresh-token', token);
      expect(status).toBe(200);
      expect(body).toMatchObject({ token_type: 'Bearer', expires_in: expect.closeTo(900, -1) });
      expectNoNewToken(await app.get('/me', body.access_token), { sub: '1' });
      clock.advance('31s');
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
    });

    it('by tokens.reissue() and tokens.refresh()', async () => {
      const app = await start();
      const verified = await app.tokens.verify(legacyToken());
      const { claims } = await app.tokens.reissue(verified, { theme: 'dark' });
      expect(claims).toMatchObject({ sub: '1', plan: 'free', theme: 'dark', sid: verified.sid });
      const { accessToken } = await app.tokens.refresh(legacyToken({ device: 'phone' }));
      expectNoNewToken(await app.get('/me', accessToken), { sub: '1', plan: 'free' });
    });

    it('not by tokens.verify(), which has nowhere to put another', async () => {
      const app = await start();
      const token = legacyToken({ plan: 'old' });
      expect(await app.tokens.verify(token)).toMatchObject({ sub: '1', plan: 'old' });
      clock.advance('31s');
      expectNewToken(await app.get('/me', token), { plan: 'free' });
    });
  });

  describe('can be ended', () => {
    it.each<[string, (token: string, tokens: TokenService) => Promise<void>]>([
      ['as text', (token, tokens) => tokens.revoke({ token })],
      ['as verified', async (token, tokens) => tokens.revoke(await tokens.verify(token))],
      [
        'by their session',
        async (token, tokens) => tokens.revoke({ sid: (await tokens.verify(token)).sid }),
      ],
    ])('%s, and nobody else’s with them', async (_name, revoke) => {
      const app = await start();
      const [token, other] = [legacyToken(), legacyToken({ device: 'phone' })];
      await revoke(token, app.tokens);
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      expectNewToken(await app.get('/me', other), {});
    });

    it('together with what they were traded in for, whichever of the two is named', async () => {
      const app = await start();
      for (const named of ['legacy', 'traded']) {
        const token = legacyToken({ device: named });
        const traded = expectNewToken(await app.get('/me', token), {});
        await app.tokens.revoke({ token: named === 'legacy' ? token : traded });
        for (const each of [token, traded]) {
          expectRefusal(await app.get('/me', each), 'TOKEN_REVOKED');
        }
      }
    });

    it('by a log-out with their very first request, which then delivers nothing', async () => {
      const app = await start();
      const token = legacyToken();
      const reply = await app.post('/logout', token);
      expect(reply).toMatchObject({ status: 201, token: undefined });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('everywhere, untraded ones too; and who logs in afterwards is let in', async () => {
      const app = await start();
      const [traded, untraded] = [legacyToken(), legacyToken({ device: 'phone' })];
      const successor = expectNewToken(await app.get('/me', traded), {});
      await app.tokens.revoke({ sub: 1 });
      for (const token of [traded, untraded, successor]) {
        expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      }
      clock.advance('7s');
      const later = expectNewToken(await app.get('/me', legacyToken()), { sub: '1' });
      expectNoNewToken(await app.get('/me', later));
      expectRefusal(await app.get('/me', untraded), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', await app.logIn(1)));
    });

    it('everywhere but here', async () => {
      const app = await start();
      const [here, elsewhere] = [legacyToken(), legacyToken({ device: 'phone' })];
      await app.tokens.revoke({ sub: 1, except: await app.tokens.verify(here) });
      const traded = expectNewToken(await app.get('/me', here), {});
      expectNoNewToken(await app.get('/me', traded));
      expectRefusal(await app.get('/me', elsewhere), 'TOKEN_REVOKED');
    });

    it.each([
      ['a second before', -1, 'TOKEN_REVOKED'],
      ['in the very second', 0, 'TOKEN_REVOKED'],
      ['a second after', 1, 'alive'],
    ] as const)(
      'everywhere: made %s the fifth second after that',
      async (_name, offset, expected) => {
        clock.stop();
        const app = await start();
        await app.tokens.revoke({ sub: 1 });
        // `iat` is in whole seconds: the last one that is not later than the mark by 5 s, or another.
        const iat = Math.floor((clock.now() + 5_000) / 1000) + offset;
        clock.advance('10s');
        const reply = await app.get('/me', legacyToken({ iat }));
        if (expected === 'alive') expectNewToken(reply, { sub: '1' });
        else expectRefusal(reply, expected);
      },
    );

    it('are stale after a change like any other: one request, one trade, today’s claims', async () => {
      const app = await start();
      const token = legacyToken();
      await app.change('1', { plan: 'premium' });
      const traded = expectNewToken(await app.get('/me', token), { plan: 'premium' });
      expectNoNewToken(await app.get('/me', traded), { plan: 'premium' });
    });

    it('stay untraded and refused by tokens.verify() once they are stale', async () => {
      const app = await start();
      const token = legacyToken();
      await app.change('1', { plan: 'premium' });
      await expect(app.tokens.verify(token)).rejects.toMatchObject({ code: 'TOKEN_STALE' });
    });
  });

  describe('in a service that only verifies', () => {
    const keys = { algorithm: 'HS256', secret: SECRET } as const;
    const foreignToThem = { jwksUri: 'http://127.0.0.1:1/keys', algorithms: ['ES256'] } as const;

    it('are accepted as they are, and not traded in', async () => {
      const app = await startVerifying({ keys: foreignToThem, legacy: { keys } });
      const token = legacyToken();
      for (let time = 0; time < 2; time++) {
        expectNoNewToken(await app.get('/me', token), { sub: '1', username: 'alice' });
        clock.advance('1m');
      }
    });

    it('are revoked and stale as anywhere', async () => {
      const issuing = await start();
      const app = await startVerifying({ keys: foreignToThem, legacy: { keys } });
      const [revoked, stale] = [legacyToken({ sub: 'bob' }), legacyToken()];
      await issuing.tokens.revoke({ sub: 'bob' });
      await issuing.change('1', { plan: 'premium' });
      expectRefusal(await app.get('/me', revoked), 'TOKEN_REVOKED');
      expectRefusal(await app.get('/me', stale), 'TOKEN_STALE');
    });
  });

  describe('cannot pose as another session', () => {
    it.each<[string, (victim: VerifiedToken) => Claims]>([
      ['sid', ({ sid }) => ({ sid })],
      ['jti', ({ jti }) => ({ jti })],
      ['seen', ({ seen }) => ({ seen })],
      ['all of them', ({ sid, jti, seen, auth_time }) => ({ sid, jti, seen, auth_time })],
      ['seen that says it is our own', ({ seen }) => ({ seen: { ...seen, origin: undefined } })],
      ['seen that says it is of another', () => ({ seen: { epoch: '', origin: 'foreign' } })],
    ])('by a %s of their own choosing', async (_name, claims) => {
      const app = await start();
      const victim = await app.logIn(1);
      const token = chosen(claims(claimsOf(victim)));
      const { sid, jti, seen, auth_time } = claimsOf(victim);
      const traded = claimsOf(expectNewToken(await app.get('/me', token), { sub: '1' }));
      expect(traded.sid).not.toBe(sid);
      expect(traded.jti).not.toBe(jti);
      expect(traded.seen.epoch).toBe(seen.epoch);
      await app.tokens.revoke({ token });
      expectNoNewToken(await app.get('/me', victim), { sid, auth_time });
    });

    it('by a seen that knows of the revocation that is to end them', async () => {
      const app = await start();
      await app.tokens.revoke({ sub: 1 });
      const { seen } = claimsOf(await app.logIn(1));
      expect(seen.revoked).toHaveLength(1);
      expectRefusal(await app.get('/me', chosen({ seen })), 'TOKEN_REVOKED');
    });

    it('by an auth_time that makes their session younger', async () => {
      const app = await start();
      const token = chosen({ auth_time: seconds() + 1e6 });
      const traded = claimsOf(expectNewToken(await app.get('/me', token), {}));
      expect(traded.auth_time).toBe(claimsOf(token).iat);
    });

    it('by the sid of a session that “log out my other devices” excepts', async () => {
      const app = await start();
      const here = await app.tokens.verify(await app.logIn(1));
      const token = chosen({ sid: here.sid });
      await app.tokens.revoke({ sub: 1, except: here });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });
  });
});
