import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  type DynamicModule,
  Get,
  Injectable,
  Post,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  CurrentToken,
  JwtStateConfigError,
  JwtStateGuard,
  JwtStateModule,
  type JwtStateOptions,
  ReissuesToken,
  TokenIssuer,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { forge } from '../support/forge.js';
import {
  claimsOf,
  clock,
  closeApps,
  log,
  PLATFORMS,
  type Platform,
  SECRET,
  startApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

const KEYS = { algorithm: 'HS256', secret: SECRET } as const;

@Controller()
@UseGuards(JwtStateGuard)
class PlanController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenIssuer,
  ) {}

  @Post('plan')
  @ReissuesToken()
  changePlan(@CurrentToken() token: VerifiedToken, @Body() { plan }: { plan: string }) {
    this.users.set(token.sub, { plan });
    return { changed: plan };
  }

  @Post('tenant')
  @ReissuesToken({ scope: 'session' })
  async switchTenant(@CurrentToken() token: VerifiedToken, @Body() { tenant }: { tenant: string }) {
    await this.tokens.reissue(token, { tenant });
    return { tenant };
  }

  @Post('theme')
  async setTheme(@CurrentToken() token: VerifiedToken) {
    return this.tokens.reissue(token, { theme: 'dark' });
  }
}

describe.each(PLATFORMS)('Without a deny list: %s', (platform) => {
  const start = (options: Partial<JwtStateOptions> = {}, users = new Users()) =>
    startApp({
      platform,
      account: false,
      users,
      controllers: [PlanController],
      options: { ...options, denyList: false },
    });

  afterEach(closeApps);

  describe('the guard', () => {
    it('lets run what is signed and has not expired, and asks nobody', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const asked = app.users.asked;
      expectNoNewToken(await app.get('/me', token), { ...claimsOf(token), plan: 'free' });
      expect(app.users.asked).toBe(asked);
      expectRefusal(await app.get('/me'), 'TOKEN_MISSING');
      const bad = forge({ payload: claimsOf(token), key: `${SECRET}!` });
      expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
      clock.advance('906s');
      expectRefusal(await app.get('/me', token), 'TOKEN_EXPIRED');
    });

    it('knows nothing of a change: the claims hold until exp', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      app.users.set('alice', { plan: 'premium' });
      expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('takes a token from a service that has a deny list, also one that was revoked there', async () => {
      const issuing = await startApp({ platform });
      const app = await start();
      const token = await issuing.logIn('alice');
      await issuing.tokens.revoke({ token });
      expectRefusal(await issuing.get('/me', token), 'TOKEN_REVOKED');
      expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('of a service that has one refuses tokens from here: nobody could have revoked them', async () => {
      const [app, guarded] = [await start(), await startApp({ platform })];
      expectRefusal(await guarded.get('/me', await app.logIn('alice')), 'DENY_LIST_LOST');
    });
  });

  describe('a new token', () => {
    it.each<[string, string, unknown, Record<string, unknown>]>([
      ['a handler that changes state', '/plan', { plan: 'premium' }, { plan: 'premium' }],
      ['explicit changes', '/tenant', { tenant: 'acme' }, { tenant: 'acme', plan: 'free' }],
    ])('is delivered after %s; the old one works on', async (_name, path, body, claims) => {
      const app = await start();
      const token = await app.logIn('alice');
      const reissued = expectNewToken(await app.post(path, token, body), claims);
      const { sid, exp, auth_time, jti } = claimsOf(token);
      expect(claimsOf(reissued)).toMatchObject({ sid, exp, auth_time });
      expect(claimsOf(reissued).jti > jti).toBe(true);
      expectNoNewToken(await app.get('/me', reissued), claims);
      clock.advance('1m');
      expectNoNewToken(await app.get('/me', token), { ...claimsOf(token) });
    });

    it('is made of explicit changes also where there is no claims source', async () => {
      const app = await start({ claims: undefined });
      const token = await app.logIn('alice', { role: 'member' });
      expectNewToken(await app.post('/tenant', token, { tenant: 'acme' }), {
        tenant: 'acme',
        role: 'member',
      });
    });

    it('is what tokens.reissue() gives outside a handler', async () => {
      const app = await start();
      const { status, body } = await app.post('/theme', await app.logIn('alice'));
      expect(status).toBe(201);
      expectNoNewToken(await app.get('/me', body.access_token), { theme: 'dark', plan: 'free' });
    });

    it('is what the refresh route gives, each time another; the old one works on', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      clock.advance('10m');
      app.users.set('alice', { plan: 'premium' });
      const replies = [];
      for (let time = 0; time < 2; time++) {
        replies.push(await app.post('/auth/refresh-token', token));
      }
      for (const { status, body } of replies) {
        expect({ status, ...body }).toMatchObject({
          status: 200,
          expires_in: expect.closeTo(900, -1),
        });
        expectNoNewToken(await app.get('/me', body.access_token), { plan: 'premium' });
      }
      const ids = replies.map(({ body }) => claimsOf(body.access_token).jti);
      expect(new Set(ids).size).toBe(2);
      expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('is refused beyond the greatest age of a session', async () => {
      const app = await start({ session: { maxAge: '20m' } });
      let token = await app.logIn('alice');
      clock.advance('14m');
      token = (await app.post('/auth/refresh-token', token)).body.access_token;
      expect(claimsOf(token).exp).toBe(claimsOf(token).auth_time + 1200);
      clock.advance('6m');
      expectRefusal(await app.post('/auth/refresh-token', token), 'SESSION_EXPIRED');
    });

    it('is refused where the claims source gives the subject none; the old one works on', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      app.users.remove('alice');
      expectRefusal(await app.post('/auth/refresh-token', token), 'TOKEN_REVOKED');
      const refusal = { status: 401, code: 'TOKEN_REVOKED' };
      await expect(app.issuer.refresh(token)).rejects.toMatchObject(refusal);
      const refused = { status: 403, code: 'SUBJECT_REFUSED' };
      await expect(app.issuer.issue('alice')).rejects.toMatchObject(refused);
      expectNoNewToken(await app.get('/me', token));
    });

    it('is refused for what has expired', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      clock.advance('906s');
      expectRefusal(await app.post('/auth/refresh-token', token), 'TOKEN_EXPIRED');
    });
  });

  describe('what cannot be done', () => {
    it('has no name in TokenIssuer', async () => {
      const { issuer }: { issuer: TokenIssuer } = await start();
      // @ts-expect-error Nothing is kept that could say so.
      expect(issuer.revoke).toBeUndefined();
      // @ts-expect-error
      expect(issuer.markStale).toBeUndefined();
      expect(issuer).not.toBeInstanceOf(TokenService);
    });

    it('stops the boot of whoever injects TokenService, and says what to inject', async () => {
      @Injectable()
      class LogOut {
        constructor(readonly tokens: TokenService) {}
      }
      const boot = startApp({
        platform,
        account: false,
        providers: [LogOut],
        options: { denyList: false },
      });
      await expect(boot).rejects.toThrow(JwtStateConfigError);
      await expect(boot).rejects.toThrow(/TokenService needs a deny list.*TokenIssuer/);
    });

    it('is not missed where nobody asks for it', async () => {
      const app = await start();
      expect(() => app.tokens).toThrow();
      expect(app.issuer).toBeInstanceOf(TokenIssuer);
    });

    it('stops the boot where refresh tokens are wanted', async () => {
      const boot = start({ refresh: { tokens: {} } });
      await expect(boot).rejects.toThrow(JwtStateConfigError);
      await expect(boot).rejects.toThrow(/refresh\.tokens need a deny list/);
    });
  });

  it('TokenIssuer is there with a deny list, too, and is the TokenService', async () => {
    const app = await startApp({ platform });
    expect(app.issuer).toBe(app.tokens);
  });

  it('the boot log says how long a token works, and warns of no store', async () => {
    await start({ accessToken: { expiresIn: '5m' } });
    expect(log.text).toMatch(/no deny list: .* until its exp, up to 300 s/);
    expect(log.text).not.toMatch(/WARN/);
  });

  it('nothing is told of revocations and marks, since there are none', async () => {
    const app = await start();
    const told: string[] = [];
    for (const name of ['revoked', 'marked-stale', 'store-lost', 'superseded-use'] as const) {
      app.events.on(name, () => void told.push(name));
    }
    let issued = 0;
    app.events.on('issued', () => void issued++);
    const token = await app.logIn('alice');
    await app.post('/plan', token, { plan: 'premium' });
    app.users.remove('alice');
    await app.post('/auth/refresh-token', token);
    expect({ told, issued }).toEqual({ told: [], issued: 1 });
  });

  it('keys from elsewhere make a service that verifies, and has no store to share', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const issuing = await start({ keys: { algorithm: 'ES256', privateKey } });
    const app = await startApp({
      platform,
      account: false,
      options: { keys: { algorithm: 'ES256', publicKey }, denyList: false },
    });
    const token = await issuing.logIn('alice');
    expectNoNewToken(await app.get('/me', token), { sub: 'alice' });
    expect((await app.post('/auth/refresh-token', token)).status).toBe(404);
  });

  it('tokens from before are traded in, each time anew', async () => {
    const app = await start({ legacy: 'reissue' });
    const iat = Math.floor(clock.now() / 1000);
    const token = forge({
      header: { typ: 'JWT' },
      payload: { sub: 'alice', iat, exp: iat + 600 },
    });
    const [first, second] = [await app.get('/me', token), await app.get('/me', token)];
    for (const reply of [first, second]) expectNewToken(reply, { plan: 'free' });
    clock.advance('1m');
    expectNewToken(await app.get('/me', token), { plan: 'free' });
    expectNoNewToken(await app.get('/me', first.token), { plan: 'free' });
  });

  describe('forRootAsync()', () => {
    @Controller()
    @UseGuards(JwtStateGuard)
    class WhoController {
      constructor(private readonly tokens: TokenIssuer) {}

      @Get('who')
      who(@CurrentToken('sub') sub: string) {
        return { sub, canRevoke: 'revoke' in this.tokens };
      }
    }

    it('takes denyList: false beside the factory', async () => {
      const app = await boot(
        platform,
        JwtStateModule.forRootAsync({ denyList: false, useFactory: () => ({ keys: KEYS }) }),
        [WhoController],
      );
      try {
        const { accessToken } = await app.get(TokenIssuer).issue('alice');
        const headers = { authorization: `Bearer ${accessToken}` };
        const reply = await fetch(`${await app.getUrl()}/who`, { headers });
        expect(await reply.json()).toEqual({ sub: 'alice', canRevoke: false });
      } finally {
        await app.close();
      }
    });

    it('asks no store, though the factory still describes one', async () => {
      const store = TestStore.create('Redis');
      const denyList = await store.connect();
      const useFactory = () => ({ keys: KEYS, denyList });
      const app = await boot(
        platform,
        JwtStateModule.forRootAsync({ denyList: false, useFactory }),
        [WhoController],
      );
      try {
        store.fail();
        const issued = await app.get(TokenIssuer).issue('alice');
        const headers = { authorization: `Bearer ${issued.accessToken}` };
        const url = await app.getUrl();
        expect((await fetch(`${url}/who`, { headers })).status).toBe(200);
        const renewed = await fetch(`${url}/auth/refresh-token`, { method: 'POST', headers });
        expect(renewed.status).toBe(200);
        expect(store.lookups).toBe(0);
      } finally {
        await app.close();
      }
    });

    it('stops the boot where it comes from the factory: TokenService is there by then', async () => {
      const useFactory = () => ({ keys: KEYS, denyList: false }) as never;
      const attempt = boot(platform, JwtStateModule.forRootAsync({ useFactory }));
      await expect(attempt).rejects.toThrow(JwtStateConfigError);
      await expect(attempt).rejects.toThrow(/^denyList came from the factory .*beside the factory/);
    });

    it('keeps the deny list that the factory describes', async () => {
      const useFactory = () => ({ keys: KEYS, denyList: { prefix: 'mine:' } });
      const app = await boot(platform, JwtStateModule.forRootAsync({ useFactory }));
      expect(app.get(TokenService)).toBeInstanceOf(TokenService);
      await app.close();
    });
  });
});

async function boot(platform: Platform, module: DynamicModule, controllers: Type[] = []) {
  const compiled = await Test.createTestingModule({ imports: [module], controllers })
    .setLogger(log)
    .compile();
  const adapter = platform === 'Fastify' ? new FastifyAdapter() : new ExpressAdapter();
  const app = compiled.createNestApplication(adapter);
  await app.listen(0, '127.0.0.1');
  return app;
}
