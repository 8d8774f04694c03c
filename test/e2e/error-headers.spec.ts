import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Body,
  type CanActivate,
  Catch,
  Controller,
  type DynamicModule,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  type INestApplication,
  Injectable,
  Post,
  type Provider,
  type Type,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import { APP_FILTER, HttpAdapterHost } from '@nestjs/core';
import {
  CurrentToken,
  JwtStateGuard,
  type JwtStateOptions,
  Public,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
  writeErrorHeaders,
} from 'nestjs-jwt-state';
import { expectRefusal } from '../support/expectations.js';
import { clock, closeApps, log, PLATFORMS, type Reply, startApp } from '../support/test-app.js';
import { Users } from '../support/users.js';

/** As the documentation of Nest writes one: the body is the application's own, and has no code. */
@Catch()
class CatchAllFilter implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: unknown, host: ArgumentsHost) {
    const status = error instanceof HttpException ? error.getStatus() : 500;
    const response = host.switchToHttp().getResponse();
    this.host.httpAdapter.reply(response, { success: false }, status);
  }
}

@Catch(HttpException)
class HttpFilter extends CatchAllFilter {}

/** What such a filter says more, for errors of handlers. */
@Catch()
class ThoroughFilter extends CatchAllFilter {
  override catch(error: unknown, host: ArgumentsHost) {
    super.catch(writeErrorHeaders(host.switchToHttp().getResponse(), error), host);
  }
}

@Controller()
class MyController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @UseGuards(JwtStateGuard)
  @Get('mine')
  mine(@CurrentToken('sub') sub: string) {
    return { sub };
  }

  @UseGuards(JwtStateGuard)
  @ReissuesToken()
  @Post('role')
  role(@CurrentToken() token: VerifiedToken, @Body() { role }: { role: string }) {
    this.users.set(token.sub, { role });
  }

  @UseGuards(JwtStateGuard)
  @ReissuesToken({ scope: 'session' })
  @Post('tenant')
  async tenant(@CurrentToken() token: VerifiedToken) {
    await this.tokens.reissue(token, { note: 'x'.repeat(9_000) });
  }

  /** A refresh route of the application's own. */
  @Public()
  @Post('my-refresh')
  refresh(@Body() { token }: { token: string }) {
    return this.tokens.refresh(token);
  }

  /** An administrator looks at somebody else's token. */
  @UseGuards(JwtStateGuard)
  @Post('look-at')
  lookAt(@Body() { token }: { token: string }) {
    return this.tokens.verify(token);
  }

  /** The same, in a handler that changes state. */
  @UseGuards(JwtStateGuard)
  @ReissuesToken()
  @Post('look-at-and-change')
  lookAtAndChange(@Body() { token }: { token: string }) {
    return this.tokens.verify(token);
  }

  @UseGuards(JwtStateGuard)
  @Post('mistake')
  mistake() {
    return this.tokens.issue('bob', { exp: 1 });
  }

  @Public()
  @Get('teapot')
  teapot() {
    throw new HttpException('of the application', 418);
  }
}

@UseFilters(CatchAllFilter)
@Controller()
class FilteredController extends MyController {}

@Controller()
class FilteredMethodController extends MyController {
  @UseFilters(CatchAllFilter)
  @UseGuards(JwtStateGuard)
  @Get('mine')
  override mine(@CurrentToken('sub') sub: string) {
    return { sub };
  }

  @UseFilters(CatchAllFilter)
  @UseGuards(JwtStateGuard)
  @ReissuesToken()
  @Post('role')
  override role(@CurrentToken() token: VerifiedToken, @Body() body: { role: string }) {
    return super.role(token, body);
  }
}

interface Scope {
  controllers?: Type[];
  providers?: Provider[];
  imports?: DynamicModule[];
  prepare?: (nest: INestApplication) => void;
}

/** Where an application may put a filter of its own. */
const SCOPES: Record<string, Scope> = {
  'by APP_FILTER': { imports: [moduleWith(CatchAllFilter)] },
  'by APP_FILTER, for HttpException': { imports: [moduleWith(HttpFilter)] },
  'by useGlobalFilters()': {
    prepare: (nest) => nest.useGlobalFilters(new CatchAllFilter(nest.get(HttpAdapterHost))),
  },
  'on the controller': { controllers: [FilteredController] },
  'on the method': { controllers: [FilteredMethodController] },
};
const GLOBAL_SCOPES = Object.entries(SCOPES).filter(([, { controllers }]) => !controllers);

/** Nest asks the filters of the modules that were imported last first. */
function moduleWith(filter: Type<ExceptionFilter>): DynamicModule {
  class FilterModule {}
  return { module: FilterModule, providers: [{ provide: APP_FILTER, useClass: filter }] };
}

/** The body is the filter's; the headers say what the module has said. */
function expectHeaders(reply: Reply, status: number, code: string): void {
  expect(reply).toMatchObject({ status, body: { success: false } });
  const { headers } = reply;
  expect(headers.get('jwt-state-error')).toBe(code);
  const challenge = headers.get('www-authenticate');
  if (status !== 401) expect(challenge).toBeNull();
  else if (code === 'TOKEN_MISSING') expect(challenge).toMatch(/^Bearer\b/);
  else expect(challenge).toMatch(new RegExp(`^Bearer .*error="invalid_token".*, code="${code}"$`));
  expect(headers.get('retry-after')).toBe(status === 503 ? '1' : null);
  const exposed = headers.get('access-control-expose-headers')?.split(', ') ?? [];
  expect(exposed).toContain('Jwt-State-Error');
  expect(exposed.includes('WWW-Authenticate')).toBe(challenge !== null);
}

describe.each(PLATFORMS)('The headers of an error: %s', (platform) => {
  afterEach(closeApps);

  const start = (scope: Scope, options: Partial<JwtStateOptions> = {}) =>
    startApp({ platform, controllers: [MyController], options, ...scope });

  describe.each(Object.entries(SCOPES))('survive a filter %s', (_where, scope) => {
    it('which answers what the guard refuses', async () => {
      const app = await start(scope);
      expectHeaders(await app.get('/mine'), 401, 'TOKEN_MISSING');
      expectHeaders(await app.get('/mine', 'a.b.c'), 401, 'TOKEN_INVALID');
      const [first, second] = [await app.logIn('alice'), await app.logIn('bob')];
      expect(await app.get('/mine', first)).toMatchObject({ status: 200, body: { sub: 'alice' } });
      await app.tokens.revoke({ sub: 'alice' });
      expectHeaders(await app.get('/mine', first), 401, 'TOKEN_REVOKED');
      app.store.fail();
      expectHeaders(await app.get('/mine', second), 503, 'DENY_LIST_UNAVAILABLE');
      clock.advance('16m');
      expectHeaders(await app.get('/mine', second), 401, 'TOKEN_EXPIRED');
    });

    it('which answers for a @ReissuesToken() handler that could not begin', async () => {
      const app = await start(scope);
      const token = await app.logIn('alice');
      app.store.fail('write');
      const reply = await app.post('/role', token, { role: 'admin' });
      expectHeaders(reply, 503, 'DENY_LIST_UNAVAILABLE');
    });
  });

  describe.each(GLOBAL_SCOPES)(
    'survive on the routes of this module a filter %s',
    (_where, scope) => {
      it('which answers for the refresh route', async () => {
        const app = await start(scope, { refresh: { tokens: {} } });
        const body = { refresh_token: await app.logIn('alice') };
        expectHeaders(await app.post('/auth/refresh-token', undefined, body), 400, 'INVALID_GRANT');
        const { refreshToken } = await app.logInFor('alice');
        app.store.fail();
        const reply = await app.post('/auth/refresh-token', undefined, {
          refresh_token: refreshToken,
        });
        expectHeaders(reply, 503, 'DENY_LIST_UNAVAILABLE');
      });

      it('which answers for a token that came too large out of a handler', async () => {
        const app = await start(scope);
        const reply = await app.post('/tenant', await app.logIn('alice'));
        expectHeaders(reply, 500, 'TOKEN_TOO_LARGE');
      });
    },
  );

  it('are written for errors of handlers by this module, and by a filter that asks for them', async () => {
    const thorough = { imports: [moduleWith(ThoroughFilter)] };
    const options = { refresh: { tokens: {} } };
    const [plain, own] = [await start({}, options), await start(thorough, options)];
    const body = { token: await plain.logIn('alice') };
    const reply = await plain.post('/my-refresh', undefined, body);
    expect(reply).toMatchObject({ status: 400, body: { code: 'INVALID_GRANT' } });
    expect(reply.headers.get('jwt-state-error')).toBe('INVALID_GRANT');
    const token = await own.logIn('alice');
    expectHeaders(await own.post('/my-refresh', undefined, { token }), 400, 'INVALID_GRANT');
    for (const app of [plain, own]) {
      expect((await app.get('/teapot')).headers.get('jwt-state-error')).toBeNull();
    }
  });

  it('about another token are no verdict on the own one, whoever answers', async () => {
    const thorough = { imports: [moduleWith(ThoroughFilter)] };
    for (const app of [await start({}), await start(thorough)]) {
      const token = await app.logIn('alice');
      for (const path of ['/look-at', '/look-at-and-change']) {
        const reply = await app.post(path, token, { token: 'a.b.c' });
        expect(reply.status).toBe(422);
        expect(reply.headers.get('jwt-state-error')).toBe('INVALID_TARGET');
        expect(reply.headers.get('www-authenticate')).toBeNull();
      }
    }
    const app = await start(thorough);
    const token = await app.logIn('alice');
    await app.tokens.revoke({ token });
    expectHeaders(await app.post('/look-at', token, { token }), 401, 'TOKEN_REVOKED');
  });

  it('are no substitute for the log, which names a mistake once, whoever answers', async () => {
    const thorough = { imports: [moduleWith(ThoroughFilter)] };
    for (const app of [await start({}), await start(thorough)]) {
      const before = log.text.split('ERROR CLAIMS_INVALID').length;
      const reply = await app.post('/mistake', await app.logIn('alice'));
      expect(reply.status).toBe(500);
      expect(log.text.split('ERROR CLAIMS_INVALID').length - before).toBe(1);
    }
  });

  it('come with our body where the filter stands in the root module: ours is asked first', async () => {
    const providers = [{ provide: APP_FILTER, useClass: CatchAllFilter }];
    const app = await start({ providers });
    expectRefusal(await app.get('/mine', 'a.b.c'), 'TOKEN_INVALID');
    expect(await app.get('/teapot')).toMatchObject({ status: 418, body: { success: false } });
  });

  it('are the same where nobody has a filter of his own', async () => {
    const app = await start({});
    const reply = await app.get('/mine', 'a.b.c');
    expectRefusal(reply, 'TOKEN_INVALID');
    expect(reply.headers.get('access-control-expose-headers')).toBe(
      'Jwt-State-Error, WWW-Authenticate',
    );
  });

  it('keep what CORS exposes already', async () => {
    const cors = { origin: 'https://shop.example', exposedHeaders: ['X-Own', 'jwt-state-error'] };
    const app = await start({ prepare: (nest) => nest.enableCors(cors) });
    const { headers } = await app.get('/mine', 'a.b.c', { origin: 'https://shop.example' });
    const exposed = headers.get('access-control-expose-headers')?.split(/, ?/);
    expect(exposed).toEqual(['X-Own', 'jwt-state-error', 'WWW-Authenticate']);
  });

  it('are not sent where another guard has let the request in after all', async () => {
    @Injectable()
    class KeyOrToken implements CanActivate {
      constructor(private readonly guard: JwtStateGuard) {}

      async canActivate(context: ExecutionContext) {
        try {
          return await this.guard.canActivate(context);
        } catch (error) {
          const { headers } = context.switchToHttp().getRequest();
          if (headers['x-api-key'] === 'key') return true;
          throw error;
        }
      }
    }
    @UseGuards(KeyOrToken)
    @Controller()
    class Routes {
      @Get('either')
      get() {
        return { ran: true };
      }
    }
    const app = await start({ controllers: [Routes] });
    const reply = await app.get('/either', 'a.b.c', { 'x-api-key': 'key' });
    expect(reply).toMatchObject({ status: 200, body: { ran: true } });
    for (const name of ['jwt-state-error', 'www-authenticate', 'access-control-expose-headers']) {
      expect(reply.headers.get(name)).toBeNull();
    }
    expectRefusal(await app.get('/either', 'a.b.c'), 'TOKEN_INVALID');
  });
});
