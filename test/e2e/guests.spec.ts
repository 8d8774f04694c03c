import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  type ExecutionContext,
  ForbiddenException,
  Get,
  Injectable,
  Post,
  Req,
  UseGuards,
} from '@nestjs/common';
import {
  CurrentToken,
  JwtStateConfigError,
  type JwtStateErrorCode,
  JwtStateGuard,
  type JwtStateOptions,
  Public,
  type PublicOptions,
  ReissuesToken,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { forge } from '../support/forge.js';
import {
  claimsOf,
  clock,
  closeApps,
  PLATFORMS,
  type Reply,
  startApp,
  type TestApp,
} from '../support/test-app.js';

interface WithUser {
  user?: { sub?: string };
}

/** Who the handler thinks is there. */
const seen = (token: VerifiedToken | undefined, { user }: WithUser) => ({
  guest: token === undefined,
  user: user?.sub ?? null,
  ...(token && { plan: token.plan }),
});

@Controller()
class ShopController {
  @Public({ optional: true })
  @Get('products')
  products(@Req() request: WithUser, @CurrentToken() token?: VerifiedToken) {
    return seen(token, request);
  }

  @Public({ optional: true, invalid: 'ignore' })
  @Get('news')
  news(@Req() request: WithUser, @CurrentToken() token?: VerifiedToken) {
    return seen(token, request);
  }

  @Get('orders')
  orders(@CurrentToken('sub') sub: string) {
    return { sub };
  }
}

/** What stands on a method counts before what stands on its controller. */
@Public({ optional: true })
@Controller('shop')
class OptionalController extends ShopController {
  @Get('inherited')
  inherited(@Req() request: WithUser, @CurrentToken() token?: VerifiedToken) {
    return seen(token, request);
  }

  @Public()
  @Get('open')
  open(@Req() request: WithUser, @CurrentToken() token?: VerifiedToken) {
    return seen(token, request);
  }

  @Public(false)
  @Get('closed')
  closed(@CurrentToken('sub') sub: string) {
    return { sub };
  }
}

@Public()
@Controller('public')
class PublicController {
  @Public({ optional: true })
  @Get('optional')
  optional(@Req() request: WithUser, @CurrentToken() token?: VerifiedToken) {
    return seen(token, request);
  }
}

const controllers = [ShopController, OptionalController, PublicController];

@UseGuards(JwtStateGuard)
@Controller()
class GuardedShopController extends ShopController {}

/** The two ways to put the guard there. */
const WIRINGS = {
  "guard: 'global'": { controllers, options: { guard: 'global' } },
  '@UseGuards()': { controllers: [GuardedShopController], options: {} },
} as const;

/** What would be refused on a guarded route, and how. */
const BAD: Record<string, [(app: TestApp) => Promise<string>, JwtStateErrorCode]> = {
  'no token at all, though it says Bearer': [async () => 'not a token', 'TOKEN_INVALID'],
  'one that is not ours': [
    async (app) => forge({ payload: claimsOf(await app.logIn()), key: 'of somebody else' }),
    'TOKEN_INVALID',
  ],
  'an expired one': [
    async (app) => {
      const token = await app.logIn();
      clock.advance('16m');
      return token;
    },
    'TOKEN_EXPIRED',
  ],
  'a revoked one': [
    async (app) => {
      const token = await app.logIn();
      await app.tokens.revoke({ sub: 'alice' });
      return token;
    },
    'TOKEN_REVOKED',
  ],
  'one whose user is gone': [
    async (app) => {
      const token = await app.logIn();
      app.users.remove('alice');
      await app.tokens.markStale({ sub: 'alice' });
      return token;
    },
    'TOKEN_REVOKED',
  ],
  'a superseded one after its grace period': [
    async (app) => {
      const token = await app.logIn();
      await app.post('/auth/refresh-token', token);
      clock.advance('31s');
      return token;
    },
    'TOKEN_SUPERSEDED',
  ],
  'one from before the store lost its entries': [
    async (app) => {
      const token = await app.logIn();
      await app.store.wipe();
      return token;
    },
    'DENY_LIST_LOST',
  ],
};

function expectGuest(reply: Reply): void {
  expect(reply).toMatchObject({ status: 200, body: { guest: true, user: null } });
  for (const name of ['www-authenticate', 'jwt-state-error', 'retry-after']) {
    expect(reply.headers.get(name)).toBeNull();
  }
  expect(reply.token).toBeUndefined();
}

describe.each(PLATFORMS)('Guests on %s', (platform) => {
  afterEach(closeApps);

  describe.each(Object.entries(WIRINGS))('with %s', (_name, wiring) => {
    const start = (options: Partial<JwtStateOptions> = {}) =>
      startApp({
        platform,
        controllers: [...wiring.controllers],
        options: { ...wiring.options, ...options },
      });

    it.each(['/products', '/news'])('run without a token: %s', async (path) => {
      const app = await start();
      expectGuest(await app.get(path));
      expectGuest(await app.get(path, undefined, { authorization: 'Basic eDp5' }));
      expectRefusal(await app.get('/orders'), 'TOKEN_MISSING');
    });

    it.each(['/products', '/news'])('are none with a good token: %s', async (path) => {
      const app = await start();
      const token = await app.logIn('alice');
      // The first sight of a token takes another way than the second.
      for (const _ of ['first', 'second']) {
        expectNoNewToken(await app.get(path, token), { guest: false, user: 'alice' });
      }
    });

    it.each(['/products', '/news'])('are none with a stale one, replaced: %s', async (path) => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', { plan: 'premium' });
      const reply = await app.get(path, token);
      expectNewToken(reply, { plan: 'premium' });
      expect(reply.body).toEqual({ guest: false, user: 'alice', plan: 'premium' });
      const again = await app.get(path, token);
      expect(again.body).toMatchObject({ guest: false, plan: 'premium' });
    });

    it.each(Object.entries(BAD))('with %s: refused, or ignored', async (_what, [make, code]) => {
      const app = await start();
      const token = await make(app);
      expectRefusal(await app.get('/products', token), code);
      expectGuest(await app.get('/news', token));
      expectRefusal(await app.get('/orders', token), code);
    });

    it('with two different tokens: refused, or ignored', async () => {
      const app = await start();
      const authorization = [`Bearer ${await app.logIn()}`, `Bearer ${await app.logIn('bob')}`];
      expectRefusal(await app.send('/products', { authorization }), 'INVALID_REQUEST');
      expectGuest(await app.send('/news', { authorization }));
    });

    it('are not what a store makes of a token that does not answer: 503 either way', async () => {
      const app = await start();
      const token = await app.logIn();
      app.store.fail();
      for (const path of ['/products', '/news']) {
        expectRefusal(await app.get(path, token), 'DENY_LIST_UNAVAILABLE');
        expectGuest(await app.get(path));
      }
    });

    it('are not what a claims source makes of a token that fails: 503 either way', async () => {
      const app = await start();
      const token = await app.logIn();
      await app.tokens.markStale({ sub: 'alice' });
      app.users.fail('throws');
      for (const path of ['/products', '/news']) {
        expectRefusal(await app.get(path, token), 'CLAIMS_UNAVAILABLE');
      }
    });
  });

  it('are let in by the method, whatever the controller says, and by it where that is silent', async () => {
    const app = await startApp({ platform, controllers, options: { guard: 'global' } });
    const token = await app.logIn('alice');
    expectGuest(await app.get('/shop/inherited'));
    expectNoNewToken(await app.get('/shop/inherited', token), { user: 'alice' });
    expectGuest(await app.get('/shop/open', token));
    expectRefusal(await app.get('/shop/closed'), 'TOKEN_MISSING');
    expectNoNewToken(await app.get('/shop/closed', token), { sub: 'alice' });
    expectGuest(await app.get('/public/optional'));
    expectNoNewToken(await app.get('/public/optional', token), { user: 'alice' });
    // Inherited by a controller that says something, and by one that does not.
    expectGuest(await app.get('/shop/orders').then((reply) => asGuest(reply)));
    expectRefusal(await app.get('/orders'), 'TOKEN_MISSING');
  });

  it('may come with an access cookie, or without', async () => {
    const app = await startApp({
      platform,
      controllers,
      options: { guard: 'global', delivery: { cookie: true } },
    });
    const cookie = `__Host-token=${await app.logIn('alice')}`;
    expectGuest(await app.get('/products'));
    expect((await app.get('/products', undefined, { cookie })).body).toMatchObject({
      user: 'alice',
    });
    const bad = { cookie: '__Host-token=a.b.c' };
    expectRefusal(await app.get('/products', undefined, bad), 'TOKEN_INVALID');
    expectGuest(await app.get('/news', undefined, bad));
  });

  it('have no token that a @ReissuesToken() handler could replace: that stops the boot', async () => {
    @Controller()
    class Confused {
      @Post('plan-of-a-guest')
      @ReissuesToken()
      @Public({ optional: true })
      change() {}
    }
    const boot = startApp({ platform, controllers: [Confused], options: { guard: 'global' } });
    await expect(boot).rejects.toThrow(/Confused\.change.*@Public\(\)/s);
  });

  describe('and a handleRequest of one’s own', () => {
    /** The usual way to optional log-in with passport. */
    @Injectable()
    class OptionalGuard extends JwtStateGuard {
      override handleRequest<T>(error: unknown, user: T | false): T {
        if (error) throw error;
        return (user || null) as T;
      }
    }

    @Injectable()
    class ForgetfulGuard extends JwtStateGuard {
      override handleRequest<T>(): T {
        return undefined as T;
      }
    }

    /** Another usual way: whoever has no token is somebody in particular. */
    @Injectable()
    class GuestGuard extends JwtStateGuard {
      override handleRequest<T>(error: unknown, user: T | false): T {
        if (error) throw error;
        return user || ({ sub: 'guest' } as T);
      }
    }

    /** Looks the user up, which takes a while. */
    @Injectable()
    class EntityGuard extends JwtStateGuard {
      override handleRequest<T>(error: unknown, user: T | false, info: unknown): T {
        const token = super.handleRequest(error, user, info) as VerifiedToken;
        return Promise.resolve(token.sub === 'bob' ? undefined : { id: token.sub }) as T;
      }
    }

    @Injectable()
    class OptionsGuard extends JwtStateGuard {
      override getAuthenticateOptions(_context: ExecutionContext) {
        return { property: 'account' };
      }
    }

    /** As docs/01 shows it: a token that is good may still not be enough. */
    @Injectable()
    class StaffGuard extends JwtStateGuard {
      override handleRequest<T>(error: unknown, user: T | false, info: unknown): T {
        const token = super.handleRequest(error, user, info) as VerifiedToken;
        if (token.sub !== 'alice') throw new ForbiddenException();
        return token as T;
      }
    }

    const guards = {
      OptionalGuard,
      ForgetfulGuard,
      GuestGuard,
      EntityGuard,
      OptionsGuard,
      StaffGuard,
    };
    const routes = (Guard: (typeof guards)[keyof typeof guards]) => {
      @UseGuards(Guard)
      @Controller()
      class Routes extends ShopController {}
      return Routes;
    };
    const start = (name: keyof typeof guards) =>
      startApp({ platform, controllers: [routes(guards[name])], providers: [guards[name]] });

    it('is asked although another JwtStateGuard has let the request in', async () => {
      const app = await startApp({
        platform,
        controllers: [routes(StaffGuard)],
        providers: [StaffGuard],
        options: { guard: 'global' },
      });
      expectNoNewToken(await app.get('/orders', await app.logIn('alice')), { sub: 'alice' });
      expect((await app.get('/orders', await app.logIn('bob'))).status).toBe(403);
    });

    it('that gives no user refuses what this guard refuses, and never with a 500', async () => {
      const app = await start('OptionalGuard');
      expectRefusal(await app.get('/orders'), 'TOKEN_MISSING');
      expectRefusal(await app.get('/orders', 'a.b.c'), 'TOKEN_INVALID');
      const token = await app.logIn('alice');
      expectNoNewToken(await app.get('/orders', token), { sub: 'alice' });
      clock.advance('16m');
      expectRefusal(await app.get('/orders', token), 'TOKEN_EXPIRED');
    });

    it('that gives no user lets guests in where the route does', async () => {
      const app = await start('OptionalGuard');
      expectGuest(await app.get('/products'));
      expectRefusal(await app.get('/products', 'a.b.c'), 'TOKEN_INVALID');
      expectGuest(await app.get('/news', 'a.b.c'));
      const token = await app.logIn('alice');
      expectNoNewToken(await app.get('/products', token), { user: 'alice' });
      await app.tokens.revoke({ sub: 'alice' });
      expectRefusal(await app.get('/products', token), 'TOKEN_REVOKED');
      expectGuest(await app.get('/news', token));
    });

    it('that forgets to return opens nothing', async () => {
      const app = await start('ForgetfulGuard');
      const token = await app.logIn('alice');
      for (const given of [undefined, token]) {
        expectRefusal(await app.get('/orders', given), 'TOKEN_MISSING');
      }
      clock.advance('16m');
      expectRefusal(await app.get('/orders', token), 'TOKEN_EXPIRED');
    });

    it('that makes up a user opens nothing either; guests are that user where they may in', async () => {
      const app = await start('GuestGuard');
      expectRefusal(await app.get('/orders'), 'TOKEN_MISSING');
      expect((await app.get('/products')).body).toEqual({ guest: true, user: 'guest' });
      const token = await app.logIn('alice');
      const forged = `${token.slice(0, -4)}AAAA`;
      expect((await app.get('/news', forged)).body).toEqual({ guest: true, user: 'guest' });
      expectRefusal(await app.get('/orders', forged), 'TOKEN_INVALID');
      await app.change('alice', { plan: 'premium' });
      const reply = await app.get('/products', token);
      expect(reply.body).toEqual({ guest: false, user: 'alice', plan: 'premium' });
    });

    it('decides by whether it gives something; the token is judged that was sent', async () => {
      const app = await start('EntityGuard');
      const token = await app.logIn('alice');
      expectNoNewToken(await app.get('/orders', token), { sub: 'alice' });
      expectRefusal(await app.get('/orders', await app.logIn('bob')), 'TOKEN_MISSING');
      await app.tokens.revoke({ sub: 'alice' });
      expectRefusal(await app.get('/orders', token), 'TOKEN_REVOKED');
    });

    it('is not needed for options of passport’s', async () => {
      const app = await start('OptionsGuard');
      const token = await app.logIn('alice');
      expectNoNewToken(await app.get('/products', token), { user: 'alice' });
    });
  });
});

describe('@Public()', () => {
  it.each([
    [
      'an option that it does not know',
      { optional: true, invalids: 'ignore' },
      /no option invalids/,
    ],
    ['a mode that it does not know', { optional: true, invalid: 'accept' }, /not "accept"/],
    ['a mode where tokens are not looked at', { invalid: 'ignore' }, /needs `optional: true`/],
    ['something that is neither true nor false', { optional: 'yes' }, /not "yes"/],
  ])('refuses %s', (_, options, message) => {
    const decorate = () => Public(options as PublicOptions);
    expect(decorate).toThrow(JwtStateConfigError);
    expect(decorate).toThrow(message);
  });
});

/** A route of a user that a guest has come to. */
function asGuest(reply: Reply): Reply {
  return { ...reply, body: { guest: reply.body.sub === undefined, user: null } };
}
