import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Post, Req, UseGuards } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  CurrentToken,
  JwtStateGuard,
  Public,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { actAs, currentToken, TestDenyList, tokenFor } from 'nestjs-jwt-state/testing';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { closeApps, PLATFORMS, type Platform, startApp } from '../support/test-app.js';
import { Users } from '../support/users.js';

@Controller()
class PlanController {
  constructor(private readonly users: Users) {}

  @Get('subscription')
  plan(
    @CurrentToken() token: VerifiedToken<{ plan: string }>,
    @Req() { user }: { user?: unknown },
  ) {
    return { sub: token?.sub ?? null, plan: token?.plan ?? null, same: user === token };
  }

  @Post('subscription')
  @ReissuesToken()
  change(@CurrentToken('sub') sub: string) {
    this.users.set(sub, { plan: 'premium' });
    return { changed: sub };
  }
}

@Controller('guarded')
@UseGuards(JwtStateGuard)
class GuardedController extends PlanController {}

const opened: INestApplication[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
  await closeApps();
});

/** A controller alone, as a unit test has it. */
async function aloneOn(platform: Platform, users = new Users()) {
  const module = await Test.createTestingModule({
    controllers: [PlanController],
    providers: [{ provide: Users, useValue: users }],
  }).compile();
  const app = module.createNestApplication(
    platform === 'Fastify' ? new FastifyAdapter() : new ExpressAdapter(),
    { logger: false },
  );
  opened.push(app);
  return { app, users, controller: module.get(PlanController) };
}

async function answerOf(app: INestApplication, method = 'GET') {
  const answer = await fetch(`${await app.getUrl()}/subscription`, { method });
  return { status: answer.status, body: await answer.json() };
}

describe('A controller with @ReissuesToken(), tested without the module', () => {
  it('is made by Test.createTestingModule() without an override', async () => {
    const { controller, users } = await aloneOn('Express');
    expect(controller.change('alice')).toEqual({ changed: 'alice' });
    expect(await users.claims('alice', undefined)).toMatchObject({ plan: 'premium' });
  });

  it('is called with what currentToken() gives', async () => {
    const { controller } = await aloneOn('Express');
    const alice = currentToken('alice', { plan: 'free' });
    expect(controller.plan(alice, { user: alice })).toEqual({
      sub: 'alice',
      plan: 'free',
      same: true,
    });
    expect(alice.exp - alice.iat).toBe(900);
    expect(Object.isFrozen(alice)).toBe(true);
    expect(() => currentToken('alice', { sub: 'bob' })).toThrow(/may not set sub/);
  });

  it.each(PLATFORMS)('answers requests as the user it is told: %s', async (platform) => {
    const { app } = await aloneOn(platform);
    const alice = await actAs(app, 'alice', { plan: 'free' });
    await app.listen(0, '127.0.0.1');
    expect(alice).toMatchObject({ sub: 'alice', plan: 'free' });
    expect(await answerOf(app)).toEqual({
      status: 200,
      body: { sub: 'alice', plan: 'free', same: true },
    });
    expect(await answerOf(app, 'POST')).toEqual({ status: 201, body: { changed: 'alice' } });

    await actAs(app, 'bob', { plan: 'basic' });
    expect((await answerOf(app)).body).toMatchObject({ sub: 'bob', plan: 'basic' });
    expect(await actAs(app, null)).toBeUndefined();
    expect((await answerOf(app)).body).toMatchObject({ sub: null });
  });

  it.each(PLATFORMS)('refuses what would have to be reissued, as nobody: %s', async (platform) => {
    const { app, users } = await aloneOn(platform);
    await app.listen(0, '127.0.0.1');
    expect((await answerOf(app, 'POST')).status).toBe(500);
    expect(await users.claims('alice', undefined)).toMatchObject({ plan: 'free' });
    await expect(actAs(app, 'alice')).rejects.toThrow(/before app\.init\(\)/);
  });
});

describe.each(PLATFORMS)('An application under test: %s', (platform) => {
  @Controller()
  class OpenController {
    @Public()
    @Get('open')
    open() {
      return {};
    }
  }

  const start = async (guard?: 'global', controller: typeof PlanController = PlanController) => {
    const list = new TestDenyList();
    let acting: Promise<unknown> = Promise.resolve();
    const app = await startApp({
      platform,
      options: { guard, denyList: { cache: list.cache } },
      controllers: [controller, OpenController],
      prepare: (nest) => {
        acting = actAs(nest, 'alice', { plan: 'free' });
      },
    });
    await acting;
    return app;
  };

  it.each([
    ['global', PlanController, '/subscription'],
    [undefined, GuardedController, '/guarded/subscription'],
  ] as const)('runs with a real token behind the guard (%s)', async (guard, controller, path) => {
    const app = await start(guard, controller);
    expectNoNewToken(await app.get(path), { sub: 'alice', plan: 'free', same: true });
    expectNewToken(await app.post(path), { plan: 'premium' });
    await actAs(app.nest, 'bob');
    expectNoNewToken(await app.get(path), { sub: 'bob', plan: 'free' });
    await app.nest.get(TokenService).revoke({ sub: 'bob' });
    expectRefusal(await app.get(path), 'TOKEN_REVOKED');
    await actAs(app.nest, null);
    expectRefusal(await app.get(path), 'TOKEN_MISSING');
    expect((await app.get('/open')).status).toBe(200);
  });

  it('leaves requests alone that bring a credential of their own', async () => {
    const app = await start('global');
    const bob = await tokenFor(app.nest, 'bob', { plan: 'basic' });
    expectNoNewToken(await app.get('/subscription', bob.accessToken), {
      sub: 'bob',
      plan: 'basic',
    });
    const basic = await app.get('/subscription', undefined, { authorization: 'Basic YTpi' });
    expectRefusal(basic, 'TOKEN_MISSING');
    expectRefusal(
      await app.get('/subscription', undefined, { authorization: 'Bearer' }),
      'TOKEN_INVALID',
    );
  });
});
