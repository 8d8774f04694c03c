import { generateKeyPairSync } from 'node:crypto';
import { createKeyv } from '@cacheable/memory';
import { afterEach, describe, expect, it } from '@jest/globals';
import KeyvRedis from '@keyv/redis';
import {
  Controller,
  type DynamicModule,
  Get,
  Inject,
  Injectable,
  Module,
  Post,
  Req,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import {
  CurrentToken,
  JwtStateConfigError,
  JwtStateGuard,
  JwtStateModule,
  type JwtStateOptions,
  type JwtStateOptionsFactory,
  Public,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { ExtractJwt, Strategy } from 'passport-jwt';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { encode } from '../support/forge.js';
import {
  claimsOf,
  closeApps,
  log,
  PLATFORMS,
  type Platform,
  SECRET,
  startApp,
} from '../support/test-app.js';

const KEYS = { algorithm: 'HS256', secret: SECRET } as const;

describe.each(PLATFORMS)('The module: %s', (platform) => {
  afterEach(closeApps);

  describe('the guard', () => {
    @Controller()
    class OpenController {
      @Get('unmarked')
      unmarked(@CurrentToken() token?: VerifiedToken) {
        return { sub: token?.sub ?? null };
      }

      @Public()
      @Get('open')
      open(@CurrentToken() token?: VerifiedToken) {
        return { sub: token?.sub ?? null };
      }

      @Get('claims')
      claims(
        @Req() { user }: { user: VerifiedToken },
        @CurrentToken() token: VerifiedToken,
        @CurrentToken('plan') plan: string,
        @CurrentToken('missing') missing?: string,
      ) {
        return { user, token, plan, missing: missing ?? null };
      }
    }

    @Public()
    @Controller('public')
    class PublicController {
      @Get()
      get() {
        return { open: true };
      }
    }

    const controllers = [OpenController, PublicController];

    it('stands before every route that is not @Public(), where it is global', async () => {
      const app = await startApp({ platform, controllers, options: { guard: 'global' } });
      expectRefusal(await app.get('/unmarked'), 'TOKEN_MISSING');
      expect(await app.get('/open')).toMatchObject({ status: 200, body: { sub: null } });
      expect(await app.get('/public')).toMatchObject({ status: 200, body: { open: true } });
      const token = await app.logIn('alice');
      expectNoNewToken(await app.get('/unmarked', token), { sub: 'alice' });
    });

    it('does not look at the token of a @Public() route', async () => {
      const app = await startApp({ platform, controllers, options: { guard: 'global' } });
      expect(await app.get('/open', 'not-a-token')).toMatchObject({ status: 200 });
    });

    it('stands only where @UseGuards() puts it, where it is not global', async () => {
      const app = await startApp({ platform, controllers });
      expect(await app.get('/unmarked')).toMatchObject({ status: 200, body: { sub: null } });
      expectRefusal(await app.get('/me'), 'TOKEN_MISSING');
    });

    it('asks the store once where it is global and on the route as well', async () => {
      const app = await startApp({ platform, store: 'Redis', options: { guard: 'global' } });
      const token = await app.logIn('alice');
      app.store.lookups = 0;
      expectNoNewToken(await app.get('/me', token));
      expect(app.store.lookups).toBe(1);
    });

    it('gives the effective claims to request.user, @CurrentToken() and @CurrentToken(claim)', async () => {
      const app = await startApp({ platform, controllers, options: { guard: 'global' } });
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const reply = await app.get('/claims', token);
      const claims = claimsOf(expectNewToken(reply, { plan: 'premium' }));
      expect(reply.body).toEqual({ user: claims, token: claims, plan: 'premium', missing: null });
    });
  });

  describe('beside an application’s own passport strategies', () => {
    const OWN_SECRET = 'the application has its own jwt strategy with its own secret';

    @Injectable()
    class OwnStrategy extends PassportStrategy(Strategy) {
      constructor() {
        super({
          jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
          secretOrKey: OWN_SECRET,
        });
      }

      validate(payload: object) {
        return { own: true, ...payload };
      }
    }

    @Controller('own')
    @UseGuards(AuthGuard('jwt'))
    class OwnController {
      @Get()
      get(@Req() { user }: { user: object }) {
        return user;
      }
    }

    @Controller('feature')
    @UseGuards(JwtStateGuard)
    class FeatureController {
      @Get()
      get(@CurrentToken() token: VerifiedToken) {
        return token;
      }
    }

    @Module({
      imports: [PassportModule.register({ defaultStrategy: 'other' })],
      controllers: [FeatureController, OwnController],
      providers: [OwnStrategy],
    })
    class FeatureModule {}

    it('guards a feature module whose default strategy is another one', async () => {
      const app = await startApp({ platform, imports: [FeatureModule] });
      expectRefusal(await app.get('/feature'), 'TOKEN_MISSING');
      expectNoNewToken(await app.get('/feature', await app.logIn('alice')), { sub: 'alice' });
    });

    it('leaves the strategy “jwt” to the application', async () => {
      const jwt = new JwtService({ secret: OWN_SECRET });
      const app = await startApp({ platform, imports: [FeatureModule] });
      const own = jwt.sign({ sub: 'own-user' });
      expect((await app.get('/own', own)).body).toMatchObject({ own: true, sub: 'own-user' });
      expect((await app.get('/own', await app.logIn('alice'))).status).toBe(401);
      expectRefusal(await app.get('/me', own), 'TOKEN_INVALID');
    });
  });

  it('two applications with different keys in one process accept their own tokens only', async () => {
    const one = await startApp({ platform });
    const secret = 'another application, another secret';
    const other = await startApp({
      platform,
      options: { keys: { algorithm: 'HS256', secret } },
    });
    const [ones, others] = [await one.logIn('alice'), await other.logIn('bob')];
    expectNoNewToken(await one.get('/me', ones), { sub: 'alice' });
    expectNoNewToken(await other.get('/me', others), { sub: 'bob' });
    expectRefusal(await one.get('/me', others), 'TOKEN_INVALID');
    expectRefusal(await other.get('/me', ones), 'TOKEN_INVALID');
    await other.close();
    expectNoNewToken(await one.get('/me', ones), { sub: 'alice' });
  });

  describe('forRootAsync()', () => {
    const OPTIONS = Symbol('options');

    @Module({
      providers: [
        { provide: OPTIONS, useValue: { keys: KEYS, claims: () => ({ plan: 'async' }) } },
      ],
      exports: [OPTIONS],
    })
    class SettingsModule {}

    @Injectable()
    class Settings implements JwtStateOptionsFactory {
      constructor(@Inject(OPTIONS) private readonly options: JwtStateOptions) {}

      async createJwtStateOptions() {
        return this.options;
      }
    }

    @Module({ imports: [SettingsModule], providers: [Settings], exports: [Settings] })
    class ExistingSettingsModule {}

    @Controller()
    class WhoController {
      @Get('who')
      who(@CurrentToken() { sub, plan }: VerifiedToken<{ plan: string }>) {
        return { sub, plan };
      }
    }

    const beside = { guard: 'global', refresh: { path: 'renew' } } as const;

    it.each<[string, Parameters<typeof JwtStateModule.forRootAsync>[0]]>([
      [
        'useFactory',
        {
          imports: [SettingsModule],
          inject: [OPTIONS],
          useFactory: async (options: JwtStateOptions) => options,
        },
      ],
      ['useClass', { imports: [SettingsModule], useClass: Settings }],
      ['useExisting', { imports: [ExistingSettingsModule], useExisting: Settings }],
    ])('takes %s; guard and refresh stand beside it', async (_name, options) => {
      const root = JwtStateModule.forRootAsync({ ...options, ...beside });
      const app = await boot(platform, root, [WhoController]);
      try {
        const { accessToken } = await app.get(TokenService).issue('alice');
        const url = await app.getUrl();
        const headers = { authorization: `Bearer ${accessToken}` };
        expect((await fetch(`${url}/who`)).status).toBe(401);
        const who = await fetch(`${url}/who`, { headers });
        expect(await who.json()).toEqual({ sub: 'alice', plan: 'async' });
        const renewed = await fetch(`${url}/renew`, { method: 'POST', headers });
        expect(renewed.status).toBe(200);
      } finally {
        await app.close();
      }
    });

    it('says what is missing when the factory returns nothing', async () => {
      const useFactory = (() => undefined) as unknown as () => JwtStateOptions;
      await expectNoBoot(platform, JwtStateModule.forRootAsync({ useFactory }), /keys is missing/);
    });

    it.each(['guard', 'refresh'] as const)(
      'refuses %s from the factory, with what to do',
      async (name) => {
        const root = JwtStateModule.forRootAsync({
          useFactory: () => ({ keys: KEYS, [name]: beside[name] }),
        });
        await expectNoBoot(
          platform,
          root,
          new RegExp(`^${name} came from the factory .*beside the factory`, 's'),
        );
      },
    );
  });
});

describe('What stops the boot', () => {
  const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' }).toString();
  const cacheOver = (...stores: Keyv[]) => ({ denyList: { cache: createCache({ stores }) } });
  const redis = (connectionTimeout?: number) =>
    new Keyv(
      new KeyvRedis('redis://127.0.0.1:1', { ...(connectionTimeout && { connectionTimeout }) }),
    );

  afterEach(closeApps);

  it.each<[string, unknown, RegExp]>([
    ['no keys', {}, /keys is missing: \{ algorithm: 'HS256', secret \}/],
    [
      'an unknown option',
      { keys: KEYS, gracePeriod: '30s' },
      /no option "gracePeriod"\. It knows: .*reissue/,
    ],
    [
      'an unknown option further in',
      { keys: KEYS, reissue: { grace: '30s' } },
      /^reissue: there is no option "grace"\. It knows: gracePeriod/,
    ],
    [
      'an unknown option of the deny list',
      { keys: KEYS, denyList: { timeout: 1 } },
      /^denyList: there is no option "timeout"/,
    ],
    [
      'an unknown option of the cookie',
      { keys: KEYS, delivery: { cookie: { httpOnly: false } } },
      /^delivery\.cookie: there is no option "httpOnly"/,
    ],
    ['a missing secret', { keys: { algorithm: 'HS256' } }, /keys\.secret is missing.*openssl rand/],
    ['an empty secret', { keys: { algorithm: 'HS256', secret: '' } }, /keys\.secret is missing/],
    [
      'a short secret',
      { keys: { algorithm: 'HS256', secret: 'x'.repeat(31) } },
      /too short: 31 bytes, HS256 needs 32.*openssl rand/,
    ],
    [
      'a secret too short for HS512',
      { keys: { algorithm: 'HS512', secret: 'x'.repeat(63) } },
      /63 bytes, HS512 needs 64/,
    ],
    [
      'a public key as secret',
      { keys: { algorithm: 'HS256', secret: pem } },
      /keys\.secret holds a PEM/,
    ],
    ['no algorithm', { keys: { secret: SECRET } }, /keys\.algorithm: undefined is not supported/],
    [
      'algorithm none',
      { keys: { algorithm: 'none', secret: SECRET } },
      /keys\.algorithm: "none" is not supported/,
    ],
    [
      'RSA of 1024 bits',
      { keys: { algorithm: 'RS256', privateKey: rsa1024 } },
      /1024 bits; 2048 is the least/,
    ],
    [
      'an EC key for RS256',
      { keys: { algorithm: 'RS256', privateKey: p256.privateKey } },
      /RS256 needs an RSA key; this one is ec/,
    ],
    [
      'an RSA key for ES256',
      { keys: { algorithm: 'ES256', privateKey: rsa.privateKey } },
      /ES256 needs an EC key on prime256v1; this one is rsa/,
    ],
    [
      'a key on another curve',
      { keys: { algorithm: 'ES384', privateKey: p256.privateKey } },
      /ES384 needs an EC key on secp384r1; this one is ec prime256v1/,
    ],
    [
      'a key pair for HS256',
      { keys: { algorithm: 'HS256', publicKey: pem } },
      /HS256 signs with a `secret`/,
    ],
    [
      'a secret for RS256',
      { keys: { algorithm: 'RS256', secret: SECRET } },
      /RS256 needs a key pair/,
    ],
    [
      'keys that are no pair',
      { keys: { algorithm: 'RS256', privateKey: rsa.privateKey, publicKey: otherRsa.publicKey } },
      /does not belong to `privateKey`/,
    ],
    [
      'a public key as the private one',
      { keys: { algorithm: 'RS256', privateKey: rsa.publicKey } },
      /privateKey holds a public key/,
    ],
    [
      'a key that cannot be read',
      { keys: { algorithm: 'RS256', publicKey: 'nonsense' } },
      /publicKey cannot be read as PEM, DER or JWK/,
    ],
    [
      'a PEM with literal \\n',
      { keys: { algorithm: 'RS256', publicKey: pem.replaceAll('\n', '\\n') } },
      /literal \\n: replace it/,
    ],
    ['claims that are no function', { keys: KEYS, claims: {} }, /claims must be a function/],
    [
      'an empty audience',
      { keys: KEYS, audience: '' },
      /audience must be a string that is not empty/,
    ],
    ['an empty issuer', { keys: KEYS, issuer: '' }, /issuer must be a string that is not empty/],
    [
      'a duration without a unit',
      { keys: KEYS, accessToken: { expiresIn: '900' } },
      /accessToken\.expiresIn: "900" is not a duration.*'15m'/,
    ],
    [
      'a longest lifetime shorter than a token’s',
      { keys: KEYS, denyList: { longestLifetime: '1m' } },
      /longestLifetime is shorter than accessToken\.expiresIn/,
    ],
    [
      'onLoss “reissue” without claims',
      { keys: KEYS, denyList: { onLoss: 'reissue' } },
      /onLoss: 'reissue' needs the `claims` option/,
    ],
    [
      'an unknown policy',
      { keys: KEYS, denyList: { onUnavailable: 'ignore' } },
      /onUnavailable: "ignore" is not one of "reject", "accept"/,
    ],
    [
      'a scope named after a reserved claim',
      { keys: KEYS, denyList: { claims: ['sub'] } },
      /denyList\.claims: "sub" cannot be a scope/,
    ],
    [
      'no way of delivery',
      { keys: KEYS, delivery: { header: false } },
      /header, cookie and body are all off/,
    ],
    [
      '__Host- with a domain',
      { keys: KEYS, delivery: { cookie: { name: '__Host-t', domain: 'a.example' } } },
      /__Host- needs secure: true, path: "\/" and no domain/,
    ],
    [
      'SameSite=None without Secure',
      { keys: KEYS, delivery: { cookie: { sameSite: 'none', secure: false } } },
      /sameSite 'none' is ignored without secure/,
    ],
    [
      'a cache with two stores',
      { keys: KEYS, ...cacheOver(new Keyv(), new Keyv()) },
      /has 2 stores; a deny list needs exactly one/,
    ],
    [
      'something that is no cache',
      { keys: KEYS, denyList: { cache: new Map() } },
      /not a cache-manager cache/,
    ],
    [
      'a store with lruSize',
      { keys: KEYS, ...cacheOver(createKeyv({ lruSize: 100 })) },
      /`lruSize` set; it drops entries.*Leave it out/,
    ],
    [
      'a store with maxTtl',
      { keys: KEYS, ...cacheOver(createKeyv({ maxTtl: 1_000 })) },
      /`maxTtl` set; it ends revocations.*Leave it out/,
    ],
    [
      'a store with connectionTimeout',
      { keys: KEYS, ...cacheOver(redis(500)) },
      /`connectionTimeout` set;.*Connect the client yourself/,
    ],
    [
      'a guard of another kind',
      { keys: KEYS, guard: 'everywhere' },
      /guard: "everywhere" is not one of "global"/,
    ],
    [
      'an empty refresh path',
      { keys: KEYS, refresh: { path: '' } },
      /refresh\.path must be a path, or false/,
    ],
    [
      'an unknown option of the refresh route',
      { keys: KEYS, refresh: { url: '/x' } },
      /^refresh: there is no option "url"/,
    ],
  ])('%s', async (_name, options, message) => {
    await expectNoBoot(
      'Express',
      () => JwtStateModule.forRoot(options as JwtStateOptions),
      message,
    );
  });

  describe('@ReissuesToken()', () => {
    const { privateKey, publicKey } = p256;
    const issuing: JwtStateOptions = { keys: { algorithm: 'ES256', privateKey } };

    @Controller()
    class UnguardedController {
      @Post('plan')
      @ReissuesToken()
      changePlan() {}
    }

    @Public()
    @Controller()
    class PublicController {
      @Post('plan')
      @ReissuesToken()
      changePlan() {}
    }

    @Controller()
    @UseGuards(AuthGuard('jwt'))
    class OtherwiseGuardedController {
      @Post('plan')
      @ReissuesToken()
      changePlan() {}
    }

    @Controller()
    @UseGuards(JwtStateGuard)
    class GuardedController {
      @Post('plan')
      @ReissuesToken()
      changePlan() {}
    }

    it.each<[string, Type, JwtStateOptions, RegExp]>([
      [
        'on an unguarded route',
        UnguardedController,
        issuing,
        /UnguardedController\.changePlan: the route is not guarded\. Add @UseGuards\(JwtStateGuard\)/,
      ],
      [
        'on a @Public() route',
        PublicController,
        { ...issuing, guard: 'global' },
        /PublicController\.changePlan: the route is not guarded.*take @Public\(\) off/s,
      ],
      [
        'behind another guard',
        OtherwiseGuardedController,
        issuing,
        /OtherwiseGuardedController\.changePlan: the route is not guarded/,
      ],
      [
        'in a service that only verifies',
        GuardedController,
        { keys: { algorithm: 'ES256', publicKey } },
        /GuardedController\.changePlan: this service only verifies/,
      ],
    ])('%s', async (_name, controller, options, message) => {
      await expectNoBoot('Express', JwtStateModule.forRoot(options), message, [controller]);
    });

    it.each<[string, Type, JwtStateOptions]>([
      ['behind the guard', GuardedController, issuing],
      ['behind the global guard', UnguardedController, { ...issuing, guard: 'global' }],
    ])('but not %s', async (_name, controller, options) => {
      const app = await boot('Express', JwtStateModule.forRoot(options), [controller]);
      await app.close();
    });
  });

  it('no secret and no key is in what is said about it', async () => {
    const secret = 'shorter than 32 bytes';
    const literal = p256.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    const attempts: [unknown, string][] = [
      [{ algorithm: 'HS256', secret }, secret],
      [{ algorithm: 'ES256', privateKey: literal.replaceAll('\n', '\\n') }, literal.slice(40, 80)],
      [{ algorithm: 'RS256', privateKey: literal }, literal.slice(40, 80)],
      [
        { algorithm: 'ES256', privateKey: { kty: 'EC', crv: 'P-256', d: encode(secret) } },
        encode(secret),
      ],
    ];
    for (const [keys, confidential] of attempts) {
      const error = await bootError('Express', () =>
        JwtStateModule.forRoot({ keys } as JwtStateOptions),
      );
      expect(`${error.message} ${error.stack} ${String(error.cause)} ${log.text}`).not.toContain(
        confidential,
      );
    }
  });
});

describe('What the boot log says once', () => {
  afterEach(closeApps);

  it('a deny list in memory ends with the process, which is what no option at all gives', async () => {
    const app = await boot('Express', JwtStateModule.forRoot({ keys: KEYS }));
    await app.close();
    expect(log.text.match(/kept in memory: a restart ends every session/g)).toHaveLength(1);
  });

  it('nothing about a Redis that is set up right', async () => {
    await startApp({ store: 'Redis' });
    expect(log.text).not.toMatch(/WARN/);
  });

  it('a Redis client that queues commands while it is not connected', async () => {
    const stores = [new Keyv(new KeyvRedis('redis://127.0.0.1:1'))];
    const denyList = { cache: createCache({ stores }) };
    const app = await boot('Express', JwtStateModule.forRoot({ keys: KEYS, denyList }));
    await app.close();
    expect(log.text).toMatch(/WARN .*disableOfflineQueue: true/);
  });
});

async function boot(platform: Platform, module: DynamicModule, controllers: Type[] = []) {
  const compiled = await Test.createTestingModule({ imports: [module], controllers })
    .setLogger(log)
    .compile();
  const adapter = platform === 'Fastify' ? new FastifyAdapter() : new ExpressAdapter();
  const app = compiled.createNestApplication(adapter);
  try {
    await app.listen(0, '127.0.0.1');
  } catch (error) {
    await app.close();
    throw error;
  }
  return app;
}

type Root = DynamicModule | (() => DynamicModule);

async function bootError(platform: Platform, root: Root, controllers?: Type[]): Promise<Error> {
  try {
    const app = await boot(platform, typeof root === 'function' ? root() : root, controllers);
    await app.close();
  } catch (error) {
    return error as Error;
  }
  throw new Error('It did boot.');
}

async function expectNoBoot(
  platform: Platform,
  root: Root,
  message: RegExp,
  controllers?: Type[],
): Promise<void> {
  const error = await bootError(platform, root, controllers);
  expect(error.message).toMatch(message);
  expect(error).toBeInstanceOf(JwtStateConfigError);
}
