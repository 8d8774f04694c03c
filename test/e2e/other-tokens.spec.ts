import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  Post,
  UseGuards,
} from '@nestjs/common';
import {
  JwtStateGuard,
  Public,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { createTokenClient, type TokenClient } from 'nestjs-jwt-state/client';
import { expectRefusal } from '../support/expectations.js';
import {
  claimsOf,
  clock,
  closeApps,
  PLATFORMS,
  startApp,
  type TestApp,
} from '../support/test-app.js';

interface Given {
  readonly token: string;
  readonly sub: string;
}

/** Handlers that are given tokens and users of others, and let every error out. */
@Controller()
@UseGuards(JwtStateGuard)
class AdminController {
  constructor(private readonly tokens: TokenService) {}

  @Post('verify')
  verify(@Body() { token }: Given) {
    return this.tokens.verify(token);
  }

  @Post('verify-in-protocol')
  @ReissuesToken()
  verifyInProtocol(@Body() { token }: Given) {
    return this.tokens.verify(token);
  }

  @Public()
  @Post('invitation')
  invitation(@Body() { token }: Given) {
    return this.tokens.verify(token);
  }

  @Post('revoke')
  revoke(@Body() { token }: Given) {
    return this.tokens.revoke({ token });
  }

  @Post('revoke-text')
  revokeText(@Body() { sub }: Given) {
    return this.tokens.revoke(sub as never);
  }

  @Post('mark-stale')
  markStale(@Body() { sub }: Given) {
    return this.tokens.markStale({ sub: Number(sub) });
  }

  @Post('impersonate')
  impersonate(@Body() { sub }: Given) {
    return this.tokens.issue(sub);
  }

  @Post('reissue')
  reissue(@Body() given: VerifiedToken) {
    return this.tokens.reissue(given);
  }
}

interface Request {
  readonly headers: { readonly authorization?: string };
  readonly query: { readonly access_token?: string };
}

/** As applications write one, with `verify()` in the place of `JwtStateGuard`. */
@Injectable()
class OwnGuard implements CanActivate {
  constructor(private readonly tokens: TokenService) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { headers, query } = context.switchToHttp().getRequest<Request>();
    if (query.access_token) await this.tokens.verify(query.access_token, { own: true });
    else await this.tokens.verify(headers.authorization?.replace('Bearer ', '') ?? '');
    return true;
  }
}

@Controller('own')
@UseGuards(OwnGuard)
class OwnController {
  @Get()
  get() {
    return { ok: true };
  }
}

describe.each(PLATFORMS)('Errors about tokens of others: %s', (platform) => {
  let app: TestApp;
  let token: string;
  let client: TokenClient;
  let signedOut: string[];

  beforeEach(async () => {
    app = await startApp({
      platform,
      options: { refresh: { tokens: {} } },
      controllers: [AdminController, OwnController],
      providers: [OwnGuard],
    });
    const pair = await app.logInFor('alice');
    token = pair.accessToken;
    signedOut = [];
    client = createTokenClient({
      baseUrl: app.url,
      onSignedOut: (reason) => signedOut.push(reason),
    });
    client.signIn({ access_token: pair.accessToken, refresh_token: pair.refreshToken });
  });
  afterEach(async () => {
    client.close();
    await closeApps();
  });

  const states: Record<string, () => Promise<string>> = {
    'that is none': async () => 'user-42',
    'that is signed by somebody else': async () => `${token.slice(0, -43)}${'A'.repeat(43)}`,
    'that has expired': async () => {
      const { accessToken } = await app.logInFor('bob');
      clock.advance('16m');
      return accessToken;
    },
    'that is revoked': async () => {
      const bob = await app.logIn('bob');
      await app.tokens.revoke({ token: bob });
      return bob;
    },
    'that is superseded': async () => {
      const bob = await app.logIn('bob');
      await app.tokens.reissue(claimsOf(bob));
      clock.advance('31s');
      return bob;
    },
    'that is stale': async () => {
      const bob = await app.logIn('bob');
      await app.tokens.markStale({ sub: 'bob' });
      return bob;
    },
  };

  /** As an administrator's page sends it. */
  const post = async (path: string, body: unknown) => {
    const response = await client.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
  };

  /** The caller goes on as if nothing were the matter with his own token: nothing is. */
  const expectNoVerdict = async (reply: Awaited<ReturnType<typeof post>>, status = 422) => {
    expect(reply.status).toBe(status);
    expect(reply.body.code).toBe(status === 422 ? 'INVALID_TARGET' : 'SUBJECT_REFUSED');
    expect(reply.headers.get('www-authenticate')).toBeNull();
    expect(signedOut).toEqual([]);
    expect((await client.fetch('/me')).status).toBe(200);
    expect(client.claims()?.sub).toBe('alice');
  };

  it.each(Object.entries(states))(
    'a handler that verifies one %s is no 401',
    async (name, make) => {
      const other = await make();
      for (const path of ['/verify', '/verify-in-protocol', '/invitation']) {
        await expectNoVerdict(await post(path, { token: other }));
      }
      if (name !== 'that is none') {
        await expect(app.tokens.verify(other)).rejects.toMatchObject({
          status: 401,
          code: expect.stringMatching(/^TOKEN_/),
        });
      }
    },
  );

  it('one that is good is verified', async () => {
    const bob = await app.logIn('bob');
    expect(await post('/verify', { token: bob })).toMatchObject({
      status: 201,
      body: { sub: 'bob' },
    });
  });

  it('the request’s own, given to verify() as well, is what it is to the guard', async () => {
    await app.tokens.revoke({ sub: 'alice' });
    expectRefusal(await app.post('/invitation', token, { token }), 'TOKEN_REVOKED');
  });

  it('what cannot be revoked or marked says so, and nobody is signed out', async () => {
    await expectNoVerdict(await post('/revoke', { token: 'user-42' }));
    await expectNoVerdict(await post('/revoke', {}));
    await expectNoVerdict(await post('/revoke-text', { sub: 'user-42' }));
    const { body } = await post('/revoke-text', { sub: 'user-42' });
    expect(body.message).toContain('{ sub }');
    await expectNoVerdict(await post('/mark-stale', { sub: '1.5' }));
    const bob = await app.logIn('bob');
    clock.advance('16m');
    expect((await post('/revoke', { token: bob })).status).toBe(201);
  });

  it('a subject that may hold no token is 403 to the administrator who asked for one', async () => {
    app.users.remove('bob');
    await expectNoVerdict(await post('/impersonate', { sub: 'bob' }), 403);
  });

  it('a reissue of another session is no verdict on the own one, and of the own it is', async () => {
    const bob = await app.logIn('bob');
    await app.tokens.revoke({ sub: 'bob' });
    await expectNoVerdict(await post('/reissue', claimsOf(bob)));
    await expectNoVerdict(await post('/reissue', { text: 'none' }));
  });

  it('a guard of the application that verifies the own one answers as ours does', async () => {
    expect((await app.get('/own', token)).status).toBe(200);
    expectRefusal(await app.get('/own', 'x'), 'TOKEN_INVALID');
    expect((await app.get(`/own?access_token=${token}`)).status).toBe(200);
    expectRefusal(await app.get('/own?access_token=x'), 'TOKEN_INVALID');
    await app.tokens.revoke({ sub: 'alice' });
    expectRefusal(await app.get('/own', token), 'TOKEN_REVOKED');
    expectRefusal(await app.get(`/own?access_token=${token}`), 'TOKEN_REVOKED');
  });
});
