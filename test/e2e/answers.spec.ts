import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  HttpCode,
  Module,
  type NestInterceptor,
  Post,
  Redirect,
  Req,
  Res,
  StreamableFile,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import {
  CurrentToken,
  JwtStateGuard,
  JwtStateModule,
  ReissuesToken,
  TokenReissueInterceptor,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { timeout } from 'rxjs';
import { expectNewToken } from '../support/expectations.js';
import { Latch } from '../support/latch.js';
import { claimsOf, clock, closeApps, PLATFORMS, SECRET, startApp } from '../support/test-app.js';
import { Users } from '../support/users.js';

const handler = {
  runs: new Latch('the handler runs'),
  sawClientGo: new Latch('the client has gone'),
  mayCommit: new Latch('it commits'),
};

type AnyRequest = IncomingMessage | { raw: IncomingMessage };
type AppToken = VerifiedToken<{ plan: string }>;

class ImpatientInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(timeout(10));
  }
}

@Controller()
@UseGuards(JwtStateGuard)
class ChangingController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Post('passthrough')
  @ReissuesToken()
  passthrough(@CurrentToken('sub') sub: string, @Res({ passthrough: true }) _response: unknown) {
    this.users.set(sub, { plan: 'premium' });
    return { ok: true };
  }

  @Post('slow')
  @ReissuesToken()
  async slow(@CurrentToken('sub') sub: string, @Req() request: AnyRequest) {
    this.users.set(sub, { plan: 'premium' });
    handler.runs.open();
    await once(('raw' in request ? request.raw : request).socket, 'close');
    handler.sawClientGo.open();
    return { ok: true };
  }

  /** Answers after a moment, and goes on: what an interceptor with a timeout does to a handler. */
  @Post('late')
  @UseInterceptors(ImpatientInterceptor)
  @ReissuesToken()
  async late(@CurrentToken('sub') sub: string) {
    await handler.mayCommit.opened;
    this.users.set(sub, { plan: 'premium' });
  }

  @Post('stream')
  @ReissuesToken()
  stream() {
    return new StreamableFile(Readable.from(['a line']));
  }

  @Post('redirect')
  @ReissuesToken()
  @Redirect('/elsewhere')
  redirect() {
    return { url: '/there' };
  }

  @Post('unprocessable')
  @ReissuesToken()
  @HttpCode(422)
  unprocessable() {
    return { error: 'not today' };
  }

  @Post('empty')
  @ReissuesToken()
  @HttpCode(204)
  empty() {
    return { never: 'seen' };
  }

  @Post('tenant')
  @ReissuesToken({ scope: 'session' })
  tenant(@CurrentToken() token: AppToken) {
    return this.tokens.reissue(token, { tenant: 'globex' });
  }
}

describe.each(PLATFORMS)('the answer of a @ReissuesToken() handler: %s', (platform) => {
  afterEach(closeApps);

  it('carries the token where the handler takes @Res({ passthrough: true })', async () => {
    const app = await startApp({ platform, controllers: [ChangingController] });
    const reply = await app.post('/passthrough', await app.logIn('alice'));
    expectNewToken(reply, { plan: 'premium' });
  });

  it('supersedes nothing for a client that has gone away', async () => {
    handler.runs = new Latch('the handler runs');
    handler.sawClientGo = new Latch('the client has gone');
    const app = await startApp({ platform, controllers: [ChangingController] });
    const token = await app.logIn('alice');
    const headers = { authorization: `Bearer ${token}` };
    const request = httpRequest(`${app.url}/slow`, { method: 'POST', headers, agent: false });
    request.on('error', () => {});
    request.end();
    await handler.runs.reached();
    request.destroy();
    await handler.sawClientGo.reached();
    // What follows the handler: its marks, and the token that must not be replaced.
    await new Promise((resolve) => setTimeout(resolve, 20));
    clock.advance('2m');
    expectNewToken(await app.get('/me', token), { plan: 'premium' });
  });

  it('stays provisional where the handler was given up and may commit yet', async () => {
    handler.mayCommit = new Latch('it commits');
    const app = await startApp({ platform, controllers: [ChangingController] });
    const first = await app.logIn('alice');
    expect((await app.post('/late', first)).status).toBe(500);
    const before = expectNewToken(await app.get('/me', first), { plan: 'free' });
    handler.mayCommit.open();
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance('66s');
    expectNewToken(await app.get('/me', before), { plan: 'premium' });
  });

  it.each(['stream', 'redirect', 'unprocessable', 'empty'])(
    'supersedes nothing where only a body could carry the token, and this has none: %s',
    async (route) => {
      const app = await startApp({
        platform,
        controllers: [ChangingController],
        options: { delivery: { header: false, body: 'token' } },
      });
      const token = await app.logIn('alice');
      await fetch(`${app.url}/${route}`, {
        method: 'POST',
        redirect: 'manual',
        headers: { authorization: `Bearer ${token}` },
      });
      clock.advance('2m');
      expect((await app.get('/me', token)).status).toBe(200);
    },
  );

  it('holds one token, though the interceptor is bound globally as well', async () => {
    const app = await startApp({
      platform,
      controllers: [ChangingController],
      prepare: (nest) => nest.useGlobalInterceptors(nest.get(TokenReissueInterceptor)),
    });
    const reply = await app.post('/tenant', await app.logIn('alice'));
    const token = expectNewToken(reply, { tenant: 'globex' });
    expect(reply.body.access_token).toBe(token);
  });
});

describe('a session that leaves a tenant', () => {
  afterEach(closeApps);

  it('does not slip out of a revocation that comes while its reissue asks for the claims', async () => {
    const users = new Users();
    users.set('alice', { org: 'acme' });
    const app = await startApp({ users, options: { denyList: { claims: ['org'] } } });
    const token = await app.logIn('alice');
    await app.change('alice', { org: 'globex' });
    const source = users.hold();
    const pending = app.get('/me', token);
    await source.asked();
    await app.tokens.revoke({ org: 'acme' });
    source.release();
    const reply = await pending;
    expect(reply.status).toBe(401);
    expect(reply.body.code).toBe('TOKEN_REVOKED');
    expect((await app.get('/me', token)).body.code).toBe('TOKEN_REVOKED');
  });
});

describe('a refresh on a host whose clock is behind', () => {
  afterEach(closeApps);

  it('ends with one successor, however often it is repeated', async () => {
    const app = await startApp();
    const token = await app.logIn('alice');
    clock.advance('-3s');
    const ids = new Set<string>();
    for (let again = 0; again < 20; again++) {
      const issued = await app.tokens.refresh(token);
      ids.add(claimsOf(issued.accessToken).jti);
    }
    expect(ids.size).toBe(1);
  });
});

describe('the module', () => {
  afterEach(closeApps);

  it('refuses to be imported twice', async () => {
    @Module({
      imports: [JwtStateModule.forRoot({ keys: { algorithm: 'HS256', secret: SECRET } })],
    })
    class Again {}
    await expect(startApp({ imports: [Again] })).rejects.toThrow(/imported more than once/);
  });

  it('takes a claims source whose answer is declared as an interface', async () => {
    interface UserClaims {
      plan: string;
    }
    const claims = (): UserClaims => ({ plan: 'free' });
    const app = await startApp({ options: { claims } });
    expect(claimsOf(await app.logIn('alice'))).toMatchObject({ plan: 'free' });
  });
});
