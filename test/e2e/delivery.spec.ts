import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  ForbiddenException,
  Get,
  Header,
  HttpCode,
  type INestApplication,
  NotFoundException,
  Post,
  Res,
  StreamableFile,
  UseGuards,
} from '@nestjs/common';
import {
  CurrentToken,
  type DeliveryOptions,
  JwtStateGuard,
  type JwtStateOptions,
  ReissuesToken,
  TokenDelivery,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import {
  claimsOf,
  clock,
  closeApps,
  log,
  PLATFORMS,
  type Reply,
  startApp,
  type TestApp,
} from '../support/test-app.js';

interface AnyResponse {
  status(code: number): this;
  send(body: unknown): void;
}

@Controller()
@UseGuards(JwtStateGuard)
class AnswersController {
  @Get('forbidden')
  forbidden() {
    throw new ForbiddenException();
  }

  @Get('not-found')
  notFound() {
    throw new NotFoundException();
  }

  @Get('broken')
  broken() {
    throw new Error('A bug.');
  }

  @Get('empty')
  @HttpCode(204)
  empty() {}

  @Get('text')
  text() {
    return 'a text';
  }

  @Get('stream')
  stream() {
    return new StreamableFile(Readable.from([Buffer.from('a '), Buffer.from('stream')]));
  }

  @Get('sent-by-handler')
  sentByHandler(@Res() response: AnyResponse) {
    response.status(202).send({ sent: true });
  }

  @Get('cacheable')
  @Header('Cache-Control', 'public, max-age=60')
  cacheable() {
    return { cacheable: true };
  }

  @Get('with-cookie')
  @Header('Set-Cookie', 'theme=dark')
  withCookie() {
    return {};
  }
}

@Controller()
@UseGuards(JwtStateGuard)
class SessionController {
  constructor(
    private readonly tokens: TokenService,
    private readonly delivery: TokenDelivery,
  ) {}

  @Post('logout/session')
  session(@CurrentToken() { sid }: VerifiedToken) {
    return this.tokens.revoke({ sid });
  }

  @Post('logout/everywhere')
  everywhere(@CurrentToken() { sub }: VerifiedToken) {
    return this.tokens.revoke({ sub });
  }

  @Post('logout/other-devices')
  otherDevices(@CurrentToken() token: VerifiedToken) {
    return this.tokens.revoke({ sub: token.sub, except: token });
  }

  @Post('logout/and-clear')
  async clear(
    @CurrentToken() token: VerifiedToken,
    @Res({ passthrough: true }) response: never,
  ): Promise<void> {
    await this.tokens.revoke(token);
    this.delivery.clear(response);
  }

  @Post('list')
  @ReissuesToken()
  list() {
    return [1, 2];
  }
}

interface Credentials {
  user: string;
}

@Controller()
class LoginController {
  constructor(
    private readonly tokens: TokenService,
    private readonly delivery: TokenDelivery,
  ) {}

  @Post('login')
  async logIn(@Body() { user }: Credentials, @Res({ passthrough: true }) response: never) {
    this.delivery.deliver(response, await this.tokens.issue(user));
    return { welcome: user };
  }

  @Post('login/issued')
  async issue(@Body() { user }: Credentials, @Res({ passthrough: true }) response: never) {
    const issued = await this.tokens.issue(user);
    this.delivery.deliver(response, issued);
    return issued;
  }
}

describe.each(PLATFORMS)('Delivery: %s', (platform) => {
  const start = (
    options: Partial<JwtStateOptions> = {},
    prepare: (app: INestApplication) => void = () => {},
  ) =>
    startApp({
      platform,
      options,
      prepare,
      controllers: [AnswersController, SessionController, LoginController],
    });
  const startWith = (delivery: DeliveryOptions) => start({ delivery });

  afterEach(closeApps);

  describe('whatever the request ends in', () => {
    it.each([
      ['403', '/forbidden', 403],
      ['404', '/not-found', 404],
      ['500', '/broken', 500],
      ['an empty answer', '/empty', 204],
      ['a text', '/text', 200],
      ['a stream', '/stream', 200],
      ['an answer the handler sends itself', '/sent-by-handler', 202],
    ])('%s carries the new token', async (_name, path, status) => {
      const app = await start();
      const token = await staleToken(app);
      const untouched = await app.get(path, await app.logIn('bob'));
      const reply = await app.get(path, token);
      expect({ status: reply.status, body: reply.body }).toEqual({
        status,
        body: untouched.body,
      });
      expect(claimsOf(reply.token)).toMatchObject({ sub: 'alice', plan: 'premium' });
      expect(reply.headers.get('cache-control')).toBe('no-store');
      expectNoNewToken(await app.get('/me', reply.token), { plan: 'premium' });
    });

    it('a route that does not exist carries none, and replaces none', async () => {
      const app = await start();
      const token = await staleToken(app);
      expect(await app.get('/nowhere', token)).toMatchObject({ status: 404, token: undefined });
      expectNewToken(await app.get('/me', token), { plan: 'premium' });
    });
  });

  describe('by header', () => {
    it('is the default: Authorization, not to be stored, readable for scripts of other origins', async () => {
      const app = await start();
      const { headers } = await app.get('/me', await staleToken(app));
      expect(headers.get('authorization')).toMatch(/^Bearer [\w-]+\.[\w-]+\.[\w-]+$/);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('access-control-expose-headers')).toBe('Authorization');
      expect(headers.getSetCookie()).toEqual([]);
    });

    it.each([
      [['X-Request-Id'], 'X-Request-Id, Authorization'],
      [['X-Request-Id', 'authorization'], 'X-Request-Id,authorization'],
      [['*'], '*, Authorization'],
    ])('adds itself to the exposed headers that CORS has set: %j', async (exposedHeaders, all) => {
      const app = await start({}, (nest) =>
        nest.enableCors({ origin: 'https://shop.example', exposedHeaders }),
      );
      const origin = { origin: 'https://shop.example' };
      const reply = await app.get('/me', await staleToken(app), origin);
      expectNewToken(reply, {});
      const exposed = reply.headers.get('access-control-expose-headers') ?? '';
      expect(exposed.split(/, */)).toEqual(all.split(/, */));
      expect(reply.headers.get('access-control-allow-origin')).toBe('https://shop.example');
    });

    it('leaves the headers of a response without a token alone', async () => {
      const app = await start();
      const { headers } = await app.get('/cacheable', await app.logIn('alice'));
      expect(headers.get('cache-control')).toBe('public, max-age=60');
      expect(headers.get('access-control-expose-headers')).toBeNull();
    });

    it('is not stored, though the handler has made its answer cacheable', async () => {
      const app = await start();
      expectNewToken(await app.get('/cacheable', await staleToken(app)), {});
    });

    it('can have another name, and then carries the bare token', async () => {
      const app = await startWith({ header: 'X-New-Token' });
      const { headers } = await app.get('/me', await staleToken(app));
      expect(claimsOf(headers.get('x-new-token') ?? '')).toMatchObject({ plan: 'premium' });
      expect(headers.get('authorization')).toBeNull();
      expect(headers.get('access-control-expose-headers')).toBe('X-New-Token');
      expect(headers.get('cache-control')).toBe('no-store');
    });
  });

  describe('by cookie', () => {
    it('is HttpOnly, Secure, SameSite, of this host only, and lives as long as the token', async () => {
      const app = await startWith({ cookie: true });
      const reply = await app.post('/login', undefined, { user: 'alice' });
      expect(attributesOf(reply)).toEqual({
        '__Host-token': expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
        'Max-Age': expect.stringMatching(/^(900|899)$/),
        Path: '/',
        HttpOnly: true,
        Secure: true,
        SameSite: 'Lax',
      });
      expect(reply.body).toEqual({ welcome: 'alice' });
    });

    it.each([{ cookie: true }, { cookie: true, header: 'Authorization' }])(
      'is not in the JSON of a log-in that returns the issued token (%j)',
      async (delivery) => {
        const app = await startWith(delivery);
        const reply = await app.post('/login/issued', undefined, { user: 'alice' });
        expect(reply.body).toEqual({ token_type: 'Bearer', expires_in: expect.any(Number) });
        expect(claimsOf(tokenInCookie(reply))).toMatchObject({ sub: 'alice' });
      },
    );

    it('is what the guard takes the token from, and how it brings the new one', async () => {
      const app = await startWith({ cookie: true });
      const token = await staleToken(app);
      const reply = await app.get('/me', undefined, cookieWith(token));
      expect(reply).toMatchObject({ status: 200, body: { plan: 'premium' } });
      expect(claimsOf(tokenInCookie(reply))).toMatchObject({ plan: 'premium' });
      expect(reply.headers.get('cache-control')).toBe('no-store');
    });

    it('brings a @ReissuesToken() handler’s token once', async () => {
      const app = await startWith({ cookie: true });
      const token = await staleToken(app);
      const reply = await app.request('POST', '/plan', {
        headers: cookieWith(token),
        body: { plan: 'enterprise' },
      });
      expect(reply.body).toEqual({ changed: 'enterprise' });
      expect(reply.headers.getSetCookie()).toHaveLength(1);
      expect(claimsOf(tokenInCookie(reply))).toMatchObject({ plan: 'enterprise' });
    });

    it.each([{ cookie: true }, { cookie: true, header: 'Authorization' }])(
      'keeps the token out of the reach of scripts: neither header nor body holds it (%j)',
      async (delivery) => {
        const app = await startWith({ ...delivery, body: 'access_token' });
        const headers = cookieWith(await staleToken(app));
        for (const [method, path] of [
          ['GET', '/me'],
          ['POST', '/list'],
          ['POST', '/plan'],
          ['POST', '/auth/refresh-token'],
        ] as const) {
          const body = method === 'POST' ? { plan: 'premium' } : undefined;
          const reply = await app.request(method, path, { headers, body });
          const issued = tokenInCookie(reply);
          expect(reply.token).toBeUndefined();
          expect(JSON.stringify(reply.body)).not.toContain(issued);
        }
      },
    );

    it('leaves the rest of the refresh endpoint’s answer', async () => {
      const app = await startWith({ cookie: true });
      const headers = cookieWith(await app.logIn('alice'));
      const reply = await app.request('POST', '/auth/refresh-token', { headers });
      expect(reply).toMatchObject({ status: 200 });
      expect(reply.body).toEqual({ token_type: 'Bearer', expires_in: expect.any(Number) });
      expect(claimsOf(tokenInCookie(reply))).toMatchObject({ sub: 'alice' });
    });

    it('comes beside the cookies of the handler', async () => {
      const app = await startWith({ cookie: true });
      const reply = await app.get('/with-cookie', undefined, cookieWith(await staleToken(app)));
      expect(reply.headers.getSetCookie()).toContain('theme=dark');
      expect(claimsOf(tokenInCookie(reply))).toMatchObject({ plan: 'premium' });
    });

    it('brings a client that sends its token in the header a header, where both are configured', async () => {
      const app = await startWith({ cookie: true, header: 'Authorization' });
      expectNewToken(await app.get('/me', await staleToken(app)), { plan: 'premium' });
    });

    it('takes name, path, domain and SameSite from its options; no __Host- where a domain is named', async () => {
      const app = await startWith({
        cookie: { domain: 'shop.example', path: '/api', sameSite: 'strict' },
      });
      const reply = await app.post('/login', undefined, { user: 'alice' });
      expect(attributesOf(reply)).toMatchObject({
        token: expect.any(String),
        Domain: 'shop.example',
        Path: '/api',
        SameSite: 'Strict',
        HttpOnly: true,
        Secure: true,
      });
    });

    it('is deleted by clear(), and nothing new is set beside it', async () => {
      const app = await startWith({ cookie: true });
      const headers = cookieWith(await staleToken(app));
      const reply = await app.request('POST', '/logout/and-clear', { headers });
      expect(reply.status).toBe(201);
      expect(reply.headers.getSetCookie()).toHaveLength(1);
      expect(attributesOf(reply)).toMatchObject({ '__Host-token': '', 'Max-Age': '0', Path: '/' });
    });
  });

  describe('by a field of the body', () => {
    it('comes with the answer of a @ReissuesToken() handler', async () => {
      const app = await startWith({ header: false, body: 'access_token' });
      const token = await app.logIn('alice');
      const reply = await app.post('/plan', token, { plan: 'premium' });
      expect(reply.body).toEqual({ changed: 'premium', access_token: expect.any(String) });
      expect(claimsOf(reply.body.access_token)).toMatchObject({ plan: 'premium' });
      expect(reply.headers.get('cache-control')).toBe('no-store');
      expect(reply.token).toBeUndefined();
    });

    it('comes beside the header where both are configured', async () => {
      const app = await startWith({ body: 'access_token' });
      const reply = await app.post('/plan', await app.logIn('alice'), { plan: 'premium' });
      expect(reply.body.access_token).toBe(expectNewToken(reply, { plan: 'premium' }));
    });

    it('leaves answers that have no fields as they are', async () => {
      const app = await startWith({ body: 'access_token' });
      const reply = await app.post('/list', await app.logIn('alice'));
      expect(reply.body).toEqual([1, 2]);
      expectNewToken(reply, {});
    });

    it('alone: an answer without fields replaces nothing, and the next that can carries the token', async () => {
      const app = await startWith({ header: false, body: 'access_token' });
      const token = await app.logIn('alice');
      expect((await app.post('/list', token)).body).toEqual([1, 2]);
      clock.advance('31s');
      const reply = await app.post('/plan', token, { plan: 'premium' });
      expect(claimsOf(reply.body.access_token)).toMatchObject({ plan: 'premium' });
    });

    it('alone: other routes run with fresh claims, and leave replacing to those that can carry it', async () => {
      const app = await startWith({ header: false, body: 'access_token' });
      const token = await staleToken(app);
      expectNoNewToken(await app.get('/me', token), { plan: 'premium', jti: claimsOf(token).jti });
      const refreshed = await app.post('/auth/refresh-token', token);
      expect(claimsOf(refreshed.body.access_token)).toMatchObject({ plan: 'premium' });
    });
  });

  describe('when the request ends its own session', () => {
    it.each([
      ['its token', '/logout'],
      ['its session', '/logout/session'],
      ['all sessions of the user', '/logout/everywhere'],
    ])('by revoking %s, the staged token is taken back', async (_name, path) => {
      const app = await start();
      const token = await staleToken(app);
      const reply = await app.post(path, token);
      expect(reply).toMatchObject({ status: 201, token: undefined });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('the tip is taken back from a superseded token in grace as well', async () => {
      const app = await start();
      const token = await staleToken(app);
      expectNewToken(await app.get('/me', token), {});
      expect(await app.post('/logout', token)).toMatchObject({ status: 201, token: undefined });
    });

    it('the cookie is taken back as well', async () => {
      const app = await startWith({ cookie: true });
      const headers = cookieWith(await staleToken(app));
      const reply = await app.request('POST', '/logout', { headers });
      expect(reply.status).toBe(201);
      expect(reply.headers.getSetCookie()).toEqual([]);
    });

    it('but not when it ends the other sessions only', async () => {
      const app = await start();
      const reply = await app.post('/logout/other-devices', await staleToken(app));
      const successor = expectNewToken(reply, { plan: 'premium' });
      expectNoNewToken(await app.get('/me', successor));
    });
  });

  describe('the credentials of a request', () => {
    it('may be in header and cookie, if they are the same', async () => {
      const app = await startWith({ cookie: true });
      const token = await app.logIn();
      expectNoNewToken(await app.get('/me', token, cookieWith(token)));
    });

    it('are ambiguous if header and cookie differ: 400', async () => {
      const app = await startWith({ cookie: true });
      const [one, other] = [await app.logIn('alice'), await app.logIn('bob')];
      expectRefusal(await app.get('/me', one, cookieWith(other)), 'INVALID_REQUEST');
    });

    it('are ambiguous if two cookies of the name differ: 400', async () => {
      const app = await startWith({ cookie: true });
      const [one, other] = [await app.logIn('alice'), await app.logIn('bob')];
      const cookie = `${cookieWith(one).cookie}; ${cookieWith(other).cookie}`;
      expectRefusal(await app.get('/me', undefined, { cookie }), 'INVALID_REQUEST');
    });

    it('are ambiguous if two Authorization headers differ: 400, in either order', async () => {
      const app = await start();
      const [one, other] = [await app.logIn('alice'), await app.logIn('bob')];
      for (const tokens of [
        [one, other],
        [other, one],
      ]) {
        const authorization = tokens.map((token) => `Bearer ${token}`);
        expectRefusal(await app.send('/me', { authorization }), 'INVALID_REQUEST');
      }
    });

    it('may be in two Authorization headers that are the same', async () => {
      const app = await start();
      const authorization = `Bearer ${await app.logIn()}`;
      expectNoNewToken(await app.send('/me', { authorization: [authorization, authorization] }));
    });

    it('are not looked for in a cookie where none is configured, nor in query or body', async () => {
      const app = await start();
      const token = await app.logIn();
      expectRefusal(await app.get('/me', undefined, cookieWith(token)), 'TOKEN_MISSING');
      expectRefusal(await app.get(`/me?access_token=${token}`), 'TOKEN_MISSING');
      const inBody = await app.post('/plan', undefined, { access_token: token });
      expectRefusal(inBody, 'TOKEN_MISSING');
    });
  });

  describe('a token that no client could send back', () => {
    const large = (length: number) => ({ note: 'x'.repeat(length) });

    it('of more than 8 kB is an error at issue', async () => {
      const app = await start();
      await expect(app.tokens.issue('alice', large(6_200))).rejects.toMatchObject({
        code: 'TOKEN_TOO_LARGE',
      });
      const token = await app.logIn('alice', large(5_500));
      expectNoNewToken(await app.get('/me', token));
    });

    it('of more than 4 kB as a cookie is an error at issue', async () => {
      const app = await startWith({ cookie: true });
      await expect(app.tokens.issue('alice', large(3_000))).rejects.toMatchObject({
        code: 'TOKEN_TOO_LARGE',
      });
      expect(await app.logIn('alice', large(2_200))).toBeDefined();
    });

    it('fits into a cookie with its name: browsers count both (RFC 6265bis §5.6)', async () => {
      const app = await startWith({ cookie: true });
      const largest = await largestToken(app);
      expect(`__Host-token=${largest}`.length).toBeLessThanOrEqual(4_096);
    });

    it('does not consume the token that the guard wanted to replace', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      await app.change('alice', large(7_000));
      const reply = await app.get('/me', token);
      expect(reply).toMatchObject({ status: 500, body: { code: 'TOKEN_TOO_LARGE' } });
      await app.change('alice', { note: 'short' });
      expectNewToken(await app.get('/me', token), { note: 'short' });
      expect(log.text).toMatch(/ERROR TOKEN_TOO_LARGE: The token would be \d+ bytes long/);
    });

    it('does not consume the token that a refresh wanted to replace', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      app.users.set('alice', large(7_000));
      const reply = await app.post('/auth/refresh-token', token);
      expect(reply).toMatchObject({ status: 500, body: { code: 'TOKEN_TOO_LARGE' } });
      expectNoNewToken(await app.get('/me', token));
    });
  });
});

/** A token of alice, who has become premium since. */
async function staleToken(app: TestApp): Promise<string> {
  const token = await app.logIn('alice');
  await app.change('alice', { plan: 'premium' });
  return token;
}

/** As much as can be issued at all. */
async function largestToken(app: TestApp): Promise<string> {
  let [length, largest] = [0, ''];
  for (let step = 4_096; step >= 1; step /= 2) {
    const issued = await app.tokens
      .issue('alice', { note: 'x'.repeat(length + step) })
      .catch(() => undefined);
    if (issued) [length, largest] = [length + step, issued.accessToken];
  }
  return largest;
}

function cookieWith(token: string): { cookie: string } {
  return { cookie: `__Host-token=${token}` };
}

/** The cookie that the response sets last, taken apart. */
function attributesOf(reply: Reply): Record<string, string | true> {
  const cookie = reply.headers.getSetCookie().at(-1) ?? '';
  return Object.fromEntries(
    cookie.split('; ').map((part) => {
      const [name = '', value] = part.split(/=(.*)/s);
      return [name, value ?? true];
    }),
  );
}

function tokenInCookie(reply: Reply): string {
  return attributesOf(reply)['__Host-token'] as string;
}
