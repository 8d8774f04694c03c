import { execFile } from 'node:child_process';
import { type AddressInfo, createServer } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Inject,
  Injectable,
  Module,
  Post,
  Scope,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD, REQUEST } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { AuthGuard, PassportStrategy } from '@nestjs/passport';
import { Test } from '@nestjs/testing';
import {
  CurrentToken,
  JwtStateConfigError,
  JwtStateGuard,
  JwtStateModule,
  Public,
  ReissuesToken,
} from 'nestjs-jwt-state';
import { redisDenyList } from 'nestjs-jwt-state/redis';
import passport from 'passport';
import { ExtractJwt, Strategy } from 'passport-jwt';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { closeApps, log, PLATFORMS, SECRET, startApp } from '../support/test-app.js';

const KEYS = { algorithm: 'HS256', secret: SECRET } as const;

afterEach(closeApps);

describe('Options that depend on something request-scoped', () => {
  @Injectable({ scope: Scope.REQUEST })
  class Tenant {}

  @Injectable()
  class Connection {
    constructor(readonly tenant: Tenant) {}
  }

  @Injectable()
  class Users {
    @Inject() readonly connection!: Connection;
  }

  @Injectable()
  class OfRequest {
    constructor(@Inject(REQUEST) readonly request: unknown) {}
  }

  @Module({ providers: [Tenant, Connection, Users, OfRequest], exports: [Users, OfRequest] })
  class UsersModule {}

  let connections = 0;
  const server = createServer(() => connections++);
  let url: string;

  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(() => void server.close());

  const boot = (root: ReturnType<typeof JwtStateModule.forRootAsync>) =>
    Test.createTestingModule({ imports: [root] })
      .setLogger(log)
      .compile();
  const useFactory = () => ({ keys: KEYS, denyList: { cache: redisDenyList({ url }) } });

  it.each([
    [Users, 'Tenant', 'options → Users → Connection → Tenant'],
    [OfRequest, 'REQUEST', 'options → OfRequest → REQUEST'],
  ])('stop the boot by name, and nothing was connected: %p', async (inject, name, path) => {
    for (const guard of ['global', undefined] as const) {
      const options = { imports: [UsersModule], inject: [inject], useFactory, guard };
      const error = await boot(JwtStateModule.forRootAsync(options)).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(JwtStateConfigError);
      expect(error.message).toContain(`depends on ${name}, which is request-scoped (${path})`);
    }
    expect(connections).toBe(0);
  });

  it('stop it where a test has made them so', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class StandIn implements CanActivate {
      canActivate = () => true;
    }
    const builder = Test.createTestingModule({
      imports: [JwtStateModule.forRoot({ keys: KEYS, guard: 'global' })],
    });
    const attempt = builder.overrideProvider(JwtStateGuard).useClass(StandIn).compile();
    await expect(attempt).rejects.toThrow(/depends on .*, which is request-scoped/);
  });
});

describe('test/matrix/boot.mjs, which is run with every version of Nest', () => {
  it('is right with the one that is installed', async () => {
    const source = [
      '--conditions=nestjs-jwt-state/source',
      '--import',
      '@swc-node/register/esm-register',
    ];
    const args = [...source, 'test/matrix/boot.mjs'];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(stdout).toBe('ok\n');
  }, 120_000);
});

describe.each(PLATFORMS)('The order of global guards: %s', (platform) => {
  const seen: string[] = [];

  class WatchingGuard implements CanActivate {
    constructor(private readonly name: string) {}
    canActivate(context: ExecutionContext): boolean {
      const { user } = context.switchToHttp().getRequest();
      seen.push(`${this.name}: ${user?.sub}`);
      return true;
    }
  }

  @Injectable()
  class RolesGuard extends WatchingGuard {
    constructor() {
      super('roles');
    }
  }

  @Injectable()
  class RateLimit extends WatchingGuard {
    constructor() {
      super('rate limit');
    }
  }

  afterEach(() => void seen.splice(0));

  it('a roles guard of the root module sees the user, as do those of useGlobalGuards()', async () => {
    const app = await startApp({
      platform,
      options: { guard: 'global' },
      providers: [{ provide: APP_GUARD, useClass: RolesGuard }],
      prepare: (nest) => nest.useGlobalGuards(new WatchingGuard('used')),
    });
    expectNoNewToken(await app.get('/me', await app.logIn('alice')));
    expect(seen.splice(0)).toEqual(['roles: alice', 'used: alice']);
    expectRefusal(await app.get('/me'), 'TOKEN_MISSING');
    expect(seen).toEqual([]);
  });

  it('without `guard`, the application gives the order, with a rate limit in front', async () => {
    const app = await startApp({
      platform,
      options: { guard: undefined },
      providers: [
        { provide: APP_GUARD, useClass: RateLimit },
        { provide: APP_GUARD, useExisting: JwtStateGuard },
        { provide: APP_GUARD, useClass: RolesGuard },
      ],
    });
    expectNoNewToken(await app.get('/me', await app.logIn('alice')));
    expect(seen.splice(0)).toEqual(['rate limit: undefined', 'roles: alice']);
    expectRefusal(await app.get('/me'), 'TOKEN_MISSING');
    expect(seen).toEqual(['rate limit: undefined']);
  });
});

@Controller('composed')
class ChangingController {
  @Post()
  @ReissuesToken()
  change(@CurrentToken('sub') sub: string) {
    return { sub };
  }
}

describe.each(PLATFORMS)('A guard that asks JwtStateGuard: %s', (platform) => {
  @Injectable()
  class KeyOrToken implements CanActivate {
    constructor(private readonly tokens: JwtStateGuard) {}
    canActivate(context: ExecutionContext) {
      const { headers } = context.switchToHttp().getRequest();
      return headers['x-api-key'] === 'key' || this.tokens.canActivate(context);
    }
  }

  @Injectable()
  class OtherGuard implements CanActivate {
    canActivate = () => true;
  }

  it('is taken for a guard, and lets no request without a token into @ReissuesToken()', async () => {
    const app = await startApp({
      platform,
      options: { guard: undefined },
      controllers: [ChangingController],
      providers: [{ provide: APP_GUARD, useClass: KeyOrToken }],
    });
    expect(log.text).not.toContain('@ReissuesToken()');
    const token = await app.logIn('alice');
    expectNewToken(await app.request('POST', '/composed', { token }), { plan: 'free' });
    const headers = { 'x-api-key': 'key' };
    expectRefusal(await app.request('POST', '/composed', { headers }), 'TOKEN_MISSING');
    expectRefusal(await app.request('POST', '/composed', {}), 'TOKEN_MISSING');
  });

  it('is warned about where it cannot be told from another one, which is refused at run time', async () => {
    const app = await startApp({
      platform,
      account: false,
      options: { guard: undefined },
      controllers: [ChangingController],
      providers: [{ provide: APP_GUARD, useClass: OtherGuard }],
    });
    expect(log.text).toMatch(
      /WARN @ReissuesToken\(\) on ChangingController\.change: its guards are OtherGuard\. Unless one/,
    );
    const token = await app.logIn('alice');
    const reply = await app.request('POST', '/composed', { token });
    expect([reply.status, reply.body.code]).toEqual([500, 'WRONG_CONTEXT']);
    expectRefusal(await app.request('POST', '/composed', {}), 'TOKEN_MISSING');
  });

  it.each(['overrideProvider', 'overrideGuard'] as const)(
    'may be a stand-in: %s',
    async (override) => {
      @UseGuards(JwtStateGuard)
      @Controller()
      class GuardedController extends ChangingController {}
      const guard = override === 'overrideProvider' ? 'global' : undefined;
      const builder = Test.createTestingModule({
        imports: [JwtStateModule.forRoot({ keys: KEYS, guard })],
        controllers: [guard ? ChangingController : GuardedController],
      });
      const module = await builder[override](JwtStateGuard)
        .useValue({ canActivate: () => true })
        .setLogger(log)
        .compile();
      const app = module.createNestApplication();
      await app.init();
      await app.close();
      expect(log.text).not.toContain('@ReissuesToken()');
    },
  );
});

describe('Guards that are left from before', () => {
  class JwtStrategy extends PassportStrategy(Strategy) {
    constructor() {
      super({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), secretOrKey: SECRET });
    }
    validate(payload: unknown) {
      return payload;
    }
  }
  class OldStrategy extends PassportStrategy(Strategy, 'old-tokens') {
    constructor() {
      super({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), secretOrKey: SECRET });
    }
    validate(payload: unknown) {
      return payload;
    }
  }

  class JwtAuthGuard extends AuthGuard('jwt') {}

  @Injectable()
  class RecipeGuard implements CanActivate {
    constructor(readonly jwt: JwtService) {}
    canActivate = () => true;
  }

  @Controller()
  class MixedController {
    @UseGuards(AuthGuard('jwt'))
    @Get('recipe')
    recipe() {}

    @UseGuards(JwtAuthGuard)
    @Get('own')
    own() {}

    @UseGuards(AuthGuard('old-tokens'))
    @Get('named')
    named() {}

    @UseGuards(AuthGuard(['old-tokens', 'anonymous']))
    @Get('listed')
    listed() {}

    @UseGuards(RecipeGuard)
    @Get('by-service')
    byService() {}

    @Public()
    @UseGuards(AuthGuard('local'))
    @Post('login')
    login() {}

    @Public()
    @UseGuards(AuthGuard('google'))
    @Get('google')
    google() {}

    @Public()
    @UseGuards(RecipeGuard)
    @Get('invitation')
    invitation() {}

    @UseGuards(JwtStateGuard)
    @Get('ours')
    ours() {}
  }

  @UseGuards(new JwtAuthGuard())
  @Controller()
  class WholeController {
    @Get('whole')
    whole() {}
  }

  const local = { name: 'local', authenticate() {} };
  const google = { name: 'google', authenticate() {} };

  afterEach(() => {
    for (const name of ['jwt', 'old-tokens', 'local', 'google']) passport.unuse(name);
  });

  const start = async (controllers: Type[], extra: { provide: unknown; useClass: Type }[] = []) => {
    for (const strategy of [local, google]) passport.use(strategy as never);
    await startApp({
      controllers,
      account: false,
      options: { guard: 'global' },
      providers: [
        JwtStrategy,
        OldStrategy,
        { provide: JwtService, useValue: new JwtService({}) },
        ...(extra as never[]),
      ],
    });
    return log.lines.filter((line) => line.includes('does not ask the deny list'));
  };

  it('are named in the log with their routes, and others are not', async () => {
    const lines = await start([MixedController, WholeController]);
    expect(lines.map((line) => line.split('. It')[0])).toEqual([
      "WARN AuthGuard('jwt') guards MixedController.recipe, MixedController.own, WholeController.whole",
      "WARN AuthGuard('old-tokens') guards MixedController.named",
      'WARN AuthGuard([…]) guards MixedController.listed',
      'WARN RecipeGuard (with JwtService) guards MixedController.byService',
    ]);
  });

  it('are named where they guard every route', async () => {
    const lines = await start([], [{ provide: APP_GUARD, useClass: JwtAuthGuard }]);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("AuthGuard('jwt') guards every route.");
  });

  it('are not there in an application without them', async () => {
    expect(await start([])).toEqual([]);
  });
});
