import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  Injectable,
  type NestInterceptor,
  Post,
  Req,
  Res,
  StreamableFile,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import {
  CurrentToken,
  JwtStateGuard,
  type JwtStateOptions,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { mergeMap, type Observable } from 'rxjs';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { eventually, Latch } from '../support/latch.js';
import {
  claimsOf,
  clock,
  closeApps,
  log,
  MATRIX,
  PLATFORMS,
  type Reply,
  startApp,
  type TestApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

/** What the handler at work does; each test writes its own. */
@Injectable()
class Script {
  run: (token: VerifiedToken, tokens: TokenService) => unknown = () => ({ done: true });
}

@Controller()
@UseGuards(JwtStateGuard)
class ScriptedController {
  constructor(
    private readonly script: Script,
    private readonly tokens: TokenService,
  ) {}

  @Post('run')
  @ReissuesToken()
  async run(@CurrentToken() token: VerifiedToken) {
    return this.script.run(token, this.tokens);
  }

  @Post('run-for-session')
  @ReissuesToken({ scope: 'session' })
  async runForSession(@CurrentToken() token: VerifiedToken) {
    return this.script.run(token, this.tokens);
  }

  @Post('run-and-send')
  @ReissuesToken()
  async runAndSend(@Req() { user }: { user: VerifiedToken }, @Res() response: AnyResponse) {
    response.status(200).send(await this.script.run(user, this.tokens));
  }
}

/** Lets the handler's changes come true only when it has ended, as a database does. */
@Injectable()
class TransactionInterceptor implements NestInterceptor {
  constructor(private readonly users: Users) {}

  intercept(_context: unknown, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      mergeMap(async (answer) => {
        await setImmediate();
        this.users.set('alice', { plan: 'premium' });
        return answer;
      }),
    );
  }
}

@Controller('transaction-of-method')
@UseGuards(JwtStateGuard)
class MethodTransactionController {
  @Post()
  @ReissuesToken()
  @UseInterceptors(TransactionInterceptor)
  above() {}

  @Post('below')
  @UseInterceptors(TransactionInterceptor)
  @ReissuesToken()
  below() {}
}

@Controller('transaction-of-class')
@UseGuards(JwtStateGuard)
@UseInterceptors(TransactionInterceptor)
class ClassTransactionController {
  @Post()
  @ReissuesToken()
  run() {}
}

@UseInterceptors(TransactionInterceptor)
class TransactionalController {}

@Controller('transaction-of-base-class')
@UseGuards(JwtStateGuard)
class DerivedTransactionController extends TransactionalController {
  @Post()
  @ReissuesToken()
  run() {}
}

interface AnyResponse {
  status(code: number): this;
  send(body: unknown): void;
}

describe.each(MATRIX)('Reissue: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let script: Script;
  const start = (options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      store,
      options,
      controllers: [
        ScriptedController,
        MethodTransactionController,
        ClassTransactionController,
        DerivedTransactionController,
      ],
      providers: [{ provide: Script, useValue: script }],
    });

  beforeEach(() => {
    store = TestStore.create(kind);
    script = new Script();
  });
  afterEach(closeApps);

  describe('@ReissuesToken()', () => {
    it('brings the new token in the response of the change', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const reply = await app.post('/plan', token, { plan: 'premium' });
      expect(reply.body).toEqual({ changed: 'premium' });
      const successor = expectNewToken(reply, { sub: 'alice', plan: 'premium' });
      expectNoNewToken(await app.get('/me', successor), { plan: 'premium' });
      expect((await app.get('/premium', successor)).status).toBe(200);
    });

    it('makes the tokens of the user’s other devices stale, and nobody else’s', async () => {
      const app = await start();
      const [here, elsewhere] = [await app.logIn('alice'), await app.logIn('alice')];
      const bob = await app.logIn('bob');
      await app.post('/plan', here, { plan: 'premium' });
      expectNewToken(await app.get('/me', elsewhere), {
        sid: claimsOf(elsewhere).sid,
        plan: 'premium',
      });
      expectNoNewToken(await app.get('/me', bob), { plan: 'free' });
    });

    it('ends the replaced token: in grace it leads to the new one, then it is 401', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const { jti } = claimsOf((await app.post('/plan', token, { plan: 'premium' })).token);
      expectNewToken(await app.get('/me', token), { jti, plan: 'premium' });
      clock.advance('31s');
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
    });

    it('hands the handler the fresh claims of a stale token, and brings one token', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { role: 'admin' });
      let seen: VerifiedToken | undefined;
      script.run = (current) => {
        seen = current;
        app.users.set('alice', { plan: 'premium' });
      };
      const reply = await app.post('/run', token);
      expect(seen).toMatchObject({ jti: claimsOf(token).jti, role: 'admin', plan: 'free' });
      const successor = expectNewToken(reply, { role: 'admin', plan: 'premium' });
      expectNewToken(await app.get('/me', token), { jti: claimsOf(successor).jti });
    });

    it('supersedes the tip where a superseded token in grace asks for the change', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { role: 'admin' });
      const tip = expectNewToken(await app.get('/me', token), {});
      const changed = await app.post('/plan', token, { plan: 'premium' });
      const successor = expectNewToken(changed, { role: 'admin', plan: 'premium' });
      for (const older of [token, tip]) {
        expectNewToken(await app.get('/me', older), { jti: claimsOf(successor).jti });
      }
    });

    it('brings nothing when the handler throws; the old token is stale, the next request reissues', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = () => {
        app.users.set('alice', { plan: 'premium' });
        throw new Error('Failed halfway.');
      };
      const reply = await app.post('/run', token);
      expect(reply).toMatchObject({ status: 500, token: undefined });
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('ends what was issued meanwhile when the handler throws', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const handler = stoppable(script, () => {
        app.users.set('alice', { plan: 'premium' });
        throw new Error('Failed halfway.');
      });
      const reply = app.post('/run', token);
      await handler.entered();
      // Another device logs in: by what is true before the handler has changed it.
      const other = await app.logIn('alice');
      expectNoNewToken(await app.get('/me', other), { plan: 'free' });
      handler.leave();
      expect(await reply).toMatchObject({ status: 500, token: undefined });
      expectNewToken(await app.get('/me', other), { plan: 'premium' });
    });

    it('survives a handler that sends its headers itself; the next request delivers', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = () => {
        app.users.set('alice', { plan: 'premium' });
        return { sent: true };
      };
      const reply = await app.post('/run-and-send', token);
      expect(reply).toMatchObject({ status: 200, body: { sent: true }, token: undefined });
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
      await eventually(() => expect(log.text).toMatch(/WARN .*the next request delivers/));
    });

    it('keeps the explicit changes of a handler that sends its headers itself', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = async (current, tokens) => {
        await tokens.reissue(current, { tenant: 'globex' });
        return { sent: true };
      };
      expect((await app.post('/run-and-send', token)).status).toBe(200);
      // The client has its answer before the protocol has ended: a request may come in between.
      await eventually(async () => {
        expectNewToken(await app.get('/me', token), { tenant: 'globex' });
      });
    });

    it('brings the token before the stream that the handler answers with', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = () => new StreamableFile(Buffer.from('a stream'));
      const reply = await app.post('/run', token);
      expect(reply.body).toBe('a stream');
      expectNewToken(reply, { sub: 'alice' });
    });

    it('brings nothing when the handler ends the session it runs in', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = async (current, tokens) => {
        await tokens.revoke(current);
        return { done: true };
      };
      const reply = await app.post('/run', token);
      expect(reply).toMatchObject({ status: 201, body: { done: true }, token: undefined });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('keeps the exception alive in a handler that logs the other devices out', async () => {
      const app = await start();
      const [here, elsewhere] = [await app.logIn('alice'), await app.logIn('alice')];
      script.run = (except, tokens) => tokens.revoke({ sub: 'alice', except });
      const successor = expectNewToken(await app.post('/run', here), { sub: 'alice' });
      expectNoNewToken(await app.get('/me', successor));
      expectRefusal(await app.get('/me', elsewhere), 'TOKEN_REVOKED');
    });

    it('with scope “session” leaves the other sessions of the user alone', async () => {
      const app = await start();
      const [here, elsewhere] = [await app.logIn('alice'), await app.logIn('alice')];
      script.run = (current, tokens) => tokens.reissue(current, { tenant: 'globex' });
      const successor = expectNewToken(await app.post('/run-for-session', here), {
        tenant: 'globex',
      });
      expectNoNewToken(await app.get('/me', elsewhere));
      expectNoNewToken(await app.get('/me', successor), { tenant: 'globex' });
    });
  });

  describe('a transaction interceptor', () => {
    it.each([
      ['of the method, below @ReissuesToken()', '/transaction-of-method'],
      ['of the method, above @ReissuesToken()', '/transaction-of-method/below'],
      ['of the controller', '/transaction-of-class'],
      ['of the controller’s base class', '/transaction-of-base-class'],
    ])('%s has committed before the claims source is asked', async (_name, path) => {
      const app = await start();
      expectNewToken(await app.post(path, await app.logIn('alice')), { plan: 'premium' });
    });
  });

  describe('the commit protocol, when something fails', () => {
    it.each(['reject', 'accept'] as const)(
      'before the handler: 503, the handler does not run, nothing has changed (onUnavailable: %s)',
      async (onUnavailable) => {
        const app = await start({ denyList: { onUnavailable } });
        const token = await app.logIn('alice');
        let hasRun = false;
        script.run = () => {
          hasRun = true;
        };
        store.fail('write');
        expectRefusal(await app.post('/run', token), 'DENY_LIST_UNAVAILABLE');
        store.recover();
        expect(hasRun).toBe(false);
        expectNoNewToken(await app.get('/me', token), { plan: 'free' });
      },
    );

    it('at the final mark: 503 after a success; the next request reissues', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = () => {
        app.users.set('alice', { plan: 'premium' });
        store.fail('write');
      };
      expectRefusal(await app.post('/run', token), 'DENY_LIST_UNAVAILABLE');
      store.recover();
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('at the final mark of a handler that threw: its error stands; the next request reissues', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = () => {
        app.users.set('alice', { plan: 'premium' });
        store.fail('write');
        throw new Error('Failed halfway.');
      };
      expect(await app.post('/run', token)).toMatchObject({ status: 500, token: undefined });
      store.recover();
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('at the successor’s record: the answer stands, without a token; the next request reissues', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      store.fail('write', /:next:/);
      const reply = await app.post('/plan', token, { plan: 'premium' });
      expect(reply).toMatchObject({ status: 201, body: { changed: 'premium' }, token: undefined });
      store.recover();
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('at the successor’s record, with explicit changes: 503, since they would be lost', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = (current, tokens) => tokens.reissue(current, { tenant: 'globex' });
      store.fail('write', /:next:/);
      expectRefusal(await app.post('/run', token), 'DENY_LIST_UNAVAILABLE');
      store.recover();
      const successor = expectNewToken(await app.get('/me', token), { plan: 'free' });
      expect(claimsOf(successor)).not.toHaveProperty('tenant');
    });

    it('at the predecessor’s own record: that is housekeeping, the token is delivered', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      store.fail('write', /:jti:/);
      const reply = await app.post('/plan', token, { plan: 'premium' });
      if (kind === 'Redis') {
        // There both records are one script: neither is written, and the next request reissues.
        expect([reply.status, reply.token]).toEqual([201, undefined]);
        store.recover();
        expectNewToken(await app.get('/me', token), { plan: 'premium' });
        return;
      }
      const { jti } = claimsOf(expectNewToken(reply, { plan: 'premium' }));
      store.recover();
      expectNewToken(await app.get('/me', token), { jti });
    });

    it('in the claims source: the answer stands, without a token; the next request reissues', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      app.users.fail('throws');
      const reply = await app.post('/plan', token, { plan: 'premium' });
      expect(reply).toMatchObject({ status: 201, token: undefined });
      expectRefusal(await app.get('/me', token), 'CLAIMS_UNAVAILABLE');
      app.users.recover();
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });

    it('in the claims source, which says null: the answer stands, the session is over', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = () => {
        app.users.remove('alice');
        return { deleted: true };
      };
      const reply = await app.post('/run', token);
      expect(reply).toMatchObject({ status: 201, body: { deleted: true }, token: undefined });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('for good: a process that dies in the handler leaves the old token stale, and what is issued meanwhile ends with its deadline', async () => {
      const app = await start({ reissue: { handlerTimeout: '60s' } });
      const token = await app.logIn('alice');
      const handler = stoppable(script);
      const response = app.post('/run', token);
      await handler.entered();
      const provisional = expectNewToken(await app.get('/me', token), { plan: 'free' });
      app.users.set('alice', { plan: 'premium' });
      expectNoNewToken(await app.get('/me', provisional), { plan: 'free' });
      clock.advance('66s');
      const successor = expectNewToken(await app.get('/me', provisional), { plan: 'premium' });
      expectNoNewToken(await app.get('/me', successor));
      handler.leave();
      await response;
    });
  });

  describe('explicit changes', () => {
    it('are laid over what the source says; the returned token is filled in when it is sent', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = (current, tokens) => {
        app.users.set('alice', { plan: 'premium' });
        return tokens.reissue(current, { tenant: 'globex' });
      };
      const reply = await app.post('/run', token);
      const successor = expectNewToken(reply, { plan: 'premium', tenant: 'globex' });
      expect(reply.body).toEqual({
        access_token: successor,
        token_type: 'Bearer',
        expires_in: expect.any(Number),
      });
    });

    it('are kept by later reissues, through `previous`', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = (current, tokens) => tokens.reissue(current, { tenant: 'globex' });
      const { token: second } = await app.post('/run', token);
      await app.change('alice', { plan: 'premium' });
      const third = expectNewToken(await app.get('/me', second), {
        tenant: 'globex',
        plan: 'premium',
      });
      clock.advance('1m');
      const refreshed = await app.post('/auth/refresh-token', third);
      expect(claimsOf(refreshed.body.access_token)).toMatchObject({ tenant: 'globex' });
    });

    it('happen only if the handler succeeds', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = async (current, tokens) => {
        await tokens.reissue(current, { tenant: 'globex' });
        throw new Error('Failed after all.');
      };
      expect(await app.post('/run', token)).toMatchObject({ status: 500, token: undefined });
      const successor = expectNewToken(await app.get('/me', token), { plan: 'free' });
      expect(claimsOf(successor)).not.toHaveProperty('tenant');
    });

    it('of several calls add up to one token', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = async (current, tokens) => [
        await tokens.reissue(current, { tenant: 'acme', theme: 'dark' }),
        await tokens.reissue(current, { tenant: 'globex' }),
      ];
      const reply = await app.post('/run', token);
      const successor = expectNewToken(reply, { tenant: 'globex', theme: 'dark' });
      expect(reply.body.map((issued: { access_token: string }) => issued.access_token)).toEqual([
        successor,
        successor,
      ]);
    });

    it('cannot be read before the handler has succeeded', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      script.run = async (current, tokens) => {
        const issued = await tokens.reissue(current, { tenant: 'globex' });
        return issued.accessToken;
      };
      const reply = await app.post('/run', token);
      expect(reply).toMatchObject({ status: 500, body: { code: 'TOKEN_NOT_READY' } });
      expect(reply.token).toBeUndefined();
    });

    it.each(['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'sid', 'auth_time', 'seen'])(
      'cannot set the reserved claim %s',
      async (name) => {
        const app = await start();
        const token = await app.logIn('alice');
        script.run = (current, tokens) => tokens.reissue(current, { [name]: 'root' });
        const reply = await app.post('/run', token);
        expect(reply).toMatchObject({ status: 500, body: { code: 'CLAIMS_INVALID' } });
        expect(reply.token).toBeUndefined();
        expectNewToken(await app.get('/me', token), { sub: 'alice' });
      },
    );

    it('are not lost to a request that replaces the token while the handler runs', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const handler = stoppable(script, (current, tokens) =>
        tokens.reissue(current, { tenant: 'globex' }),
      );
      const response = app.post('/run', token);
      await handler.entered();
      const rival = expectNewToken(await app.get('/me', token), {});
      handler.leave();
      const { jti } = claimsOf(expectNewToken(await response, { tenant: 'globex' }));
      for (const older of [token, rival]) {
        expectNewToken(await app.get('/me', older), { jti, tenant: 'globex' });
      }
    });

    it('of two handlers at once are both in the tip', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      takeTurns(script, { tenant: 'globex' }, { theme: 'dark' });
      const replies = await Promise.all([app.post('/run', token), app.post('/run', token)]);
      expect(replies.map(({ status }) => status)).toEqual([201, 201]);
      const tip = await app.get('/me', token);
      expect(tip.body).toMatchObject({ tenant: 'globex', theme: 'dark' });
    });

    it('outside a @ReissuesToken() handler replace the token at once', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const current = await app.tokens.verify(token);
      const issued = await app.tokens.reissue(current, { tenant: 'globex' });
      expect(issued.claims).toMatchObject({ tenant: 'globex', sid: current.sid, exp: current.exp });
      expectNewToken(await app.get('/me', token), { jti: issued.claims.jti });
    });
  });

  describe('without a claims source', () => {
    const noSource = { claims: undefined };

    it('explicit changes replace the presented token only; the other claims are kept', async () => {
      const app = await start(noSource);
      const here = await app.logIn('alice', { plan: 'free', theme: 'dark' });
      const elsewhere = await app.logIn('alice', { plan: 'free', theme: 'dark' });
      script.run = (current, tokens) => tokens.reissue(current, { plan: 'premium' });
      const reply = await app.post('/run', here);
      const successor = expectNewToken(reply, { plan: 'premium', theme: 'dark' });
      expectNoNewToken(await app.get('/me', successor));
      expectNoNewToken(await app.get('/me', elsewhere), { plan: 'free' });
      expectNewToken(await app.get('/me', here), { jti: claimsOf(successor).jti });
    });

    it('the changes of two handlers at once are both in the tip', async () => {
      const app = await start(noSource);
      const token = await app.logIn('alice', { plan: 'free' });
      takeTurns(script, { tenant: 'globex' }, { theme: 'dark' });
      await Promise.all([app.post('/run', token), app.post('/run', token)]);
      const tip = await app.get('/me', token);
      expectNewToken(tip, { plan: 'free', tenant: 'globex', theme: 'dark' });
    });

    it('a handler that asks for no changes brings no token', async () => {
      const app = await start(noSource);
      const token = await app.logIn('alice', { plan: 'free' });
      const reply = await app.post('/run', token);
      expect(reply).toMatchObject({ status: 201, body: { done: true }, token: undefined });
      expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('a handler that throws leaves the token as it was', async () => {
      const app = await start(noSource);
      const token = await app.logIn('alice', { plan: 'free' });
      script.run = async (current, tokens) => {
        await tokens.reissue(current, { plan: 'premium' });
        throw new Error('Failed after all.');
      };
      expect(await app.post('/run', token)).toMatchObject({ status: 500, token: undefined });
      expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('markStale is an error that says what is missing', async () => {
      const app = await start(noSource);
      await expect(app.tokens.markStale({ sub: 'alice' })).rejects.toMatchObject({
        code: 'NO_CLAIMS_SOURCE',
        message: expect.stringContaining('`claims`'),
      });
    });
  });

  describe('a log-in', () => {
    it('that has begun before a change gets a token that is stale', async () => {
      const app = await start({ claims: undefined });
      const changing = await startApp({ platform, store });
      const login = await app.tokens.begin('alice');
      await changing.change('alice', { plan: 'premium' });
      const { accessToken } = await app.tokens.issue(login, { plan: 'free' });
      expectNewToken(await changing.get('/me', accessToken), { plan: 'premium' });
    });

    it('that has begun before a “log out everywhere” gets a token that is revoked', async () => {
      const app = await start();
      const login = await app.tokens.begin('alice');
      await app.tokens.revoke({ sub: 'alice' });
      const { accessToken } = await app.tokens.issue(login);
      expectRefusal(await app.get('/me', accessToken), 'TOKEN_REVOKED');
    });

    it('without a store gets no token', async () => {
      const app = await start({ denyList: { onUnavailable: 'accept' } });
      store.fail();
      await expect(app.tokens.issue('alice')).rejects.toMatchObject({
        code: 'DENY_LIST_UNAVAILABLE',
      });
    });
  });

  describe('requests in parallel', () => {
    it('20 with one stale token end with one successor', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      expectOneSuccessor(await Promise.all(times(20, () => app.get('/me', token))));
    });

    it('20 with one superseded token get one tip', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      const { jti } = claimsOf((await app.post('/plan', token, { plan: 'premium' })).token);
      const replies = await Promise.all(times(20, () => app.get('/me', token)));
      expect(expectOneSuccessor(replies)).toBe(jti);
    });

    it('a change that happens while the claims are read is news to the token made from them', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const source = app.users.hold();
      const response = app.get('/me', token);
      await source.asked();
      await app.change('alice', { plan: 'free' });
      source.release();
      const { token: overtaken } = await response;
      expectNewToken(await app.get('/me', overtaken), { plan: 'free' });
    });

    it.each([
      ['session', (app: TestApp, token: string) => app.tokens.revoke({ token })],
      ['subject', (app: TestApp) => app.tokens.revoke({ sub: 'alice' })],
    ])(
      'a reissue in flight does not revive a %s that is revoked meanwhile',
      async (_name, revoke) => {
        const app = await start();
        const token = await app.logIn('alice');
        await app.change('alice', { plan: 'premium' });
        const source = app.users.hold();
        const response = app.get('/me', token);
        await source.asked();
        await revoke(app, token);
        source.release();
        const reply = await response;
        expectRefusal(await app.get('/me', reply.token ?? token), 'TOKEN_REVOKED');
        expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      },
    );
  });
});

describe.each(PLATFORMS)('Two processes on one Redis: %s', (platform) => {
  let apps: [TestApp, TestApp];

  beforeEach(async () => {
    const store = TestStore.create('Redis');
    const first = await startApp({ platform, store });
    apps = [first, await startApp({ platform, store, users: first.users })];
  });
  afterEach(closeApps);

  it('a change in one is in force in the other at once', async () => {
    const [one, other] = apps;
    const [here, elsewhere] = [await one.logIn('alice'), await other.logIn('alice')];
    const { token } = await one.post('/plan', here, { plan: 'premium' });
    expectNoNewToken(await other.get('/me', token), { plan: 'premium' });
    expectNewToken(await other.get('/me', elsewhere), { plan: 'premium' });
    expectNewToken(await other.get('/me', here), { jti: claimsOf(token).jti });
  });

  it('a log-out in one ends the session in the other', async () => {
    const [one, other] = apps;
    const token = await one.logIn('alice');
    await one.post('/logout', token);
    expectRefusal(await other.get('/me', token), 'TOKEN_REVOKED');
  });

  it('20 requests with one stale token end with one successor', async () => {
    const [one, other] = apps;
    const token = await one.logIn('alice');
    await one.change('alice', { plan: 'premium' });
    const replies = times(20, (index) => (index % 2 ? one : other).get('/me', token));
    const jti = expectOneSuccessor(await Promise.all(replies));
    expectNewToken(await one.get('/me', token), { jti });
  });
});

/** All of them ran, and all of them brought the same token. */
function expectOneSuccessor(replies: Reply[]): string {
  const tokens = new Set(replies.map((reply) => expectNewToken(reply, { plan: 'premium' })));
  const [jti, ...others] = new Set([...tokens].map((token) => claimsOf(token).jti));
  expect(others).toEqual([]);
  return jti as string;
}

/** A handler that waits in the middle of its work. */
function stoppable(script: Script, then: Script['run'] = () => ({ done: true })) {
  const entered = new Latch('the handler runs');
  const left = new Latch('the handler goes on');
  script.run = async (token, tokens) => {
    entered.open();
    await left.opened;
    return then(token, tokens);
  };
  return { entered: () => entered.reached(), leave: () => left.open() };
}

/** Handlers that ask for one change each, once all of them are at work. */
function takeTurns(script: Script, ...changes: Record<string, unknown>[]): void {
  const all = new Latch('all handlers run');
  script.run = async (current, tokens) => {
    const change = changes.shift();
    if (changes.length === 0) all.open();
    await all.reached();
    return tokens.reissue(current, change);
  };
}

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
