import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Post, Req, UseGuards } from '@nestjs/common';
import { JwtStateGuard, type JwtStateOptions } from 'nestjs-jwt-state';
import {
  createTokenClient,
  type TokenClient,
  type TokenClientOptions,
} from 'nestjs-jwt-state/client';
import { BrokenStorage, CookieJar, PageLocks, PageStorage } from '../support/browser-parts.js';
import { forge } from '../support/forge.js';
import { HttpProxy } from '../support/http-proxy.js';
import { eventually } from '../support/latch.js';
import { ServiceProcess } from '../support/service-process.js';
import { SessionController } from '../support/session.controller.js';
import { claimsOf, clock, closeApps, startApp, type TestApp } from '../support/test-app.js';
import { Users } from '../support/users.js';

const REFRESH = '/auth/refresh-token';

// --- what a test begins with -------------------------------------------------------------------

const open = new Set<{ close(): unknown }>();

/** What happened to a client's session. */
interface Told {
  readonly claims: [plan: unknown, previous: unknown][];
  readonly signedOut: string[];
}
type Watched = TokenClient & { readonly told: Told };

/** A client that tells of itself, and refreshes only when it must unless the test says otherwise. */
function createClient(options: TokenClientOptions): Watched {
  const told: Told = { claims: [], signedOut: [] };
  const client = createTokenClient({
    ...options,
    refresh: options.refresh === false ? false : { ahead: false, ...options.refresh },
    onClaimsChanged: (claims, previous) => told.claims.push([claims?.plan, previous?.plan]),
    onSignedOut: (reason) => told.signedOut.push(reason),
  });
  open.add(client);
  return { ...client, told };
}

async function proxyTo(target: string): Promise<HttpProxy> {
  const proxy = await HttpProxy.to(target);
  open.add(proxy);
  return proxy;
}

/** Counts the requests that reach a handler. */
@Controller()
@UseGuards(JwtStateGuard)
class EchoController {
  handled = 0;

  @Post('echo')
  echo(@Body() body: unknown, @Req() { headers }: { headers: Record<string, string> }) {
    this.handled += 1;
    return { body, csrf: headers['x-csrf-token'], token: headers.authorization !== undefined };
  }
}

const JSON_BODY = { 'content-type': 'application/json' };
const post = (body: unknown, init: RequestInit = {}): RequestInit => ({
  method: 'POST',
  headers: JSON_BODY,
  body: JSON.stringify(body),
  ...init,
});

/** An application with refresh tokens in the body, and a way to it that can fail. */
class Place {
  private constructor(
    readonly app: TestApp,
    readonly proxy: HttpProxy,
  ) {}

  static async start(options: Partial<JwtStateOptions> = {}, users = new Users()): Promise<Place> {
    const app = await startApp({
      users,
      controllers: [SessionController, EchoController],
      options: { refresh: { tokens: { expiresIn: '1h' } }, ...options },
    });
    return new Place(app, await proxyTo(app.url));
  }

  get echo(): EchoController {
    return this.app.nest.get(EchoController);
  }

  client(options: TokenClientOptions = {}): Watched {
    return createClient({ baseUrl: this.proxy.url, ...options });
  }

  async signedIn(options: TokenClientOptions = {}, user = 'alice'): Promise<Watched> {
    const client = this.client(options);
    await this.logIn(client, user);
    return client;
  }

  async logIn(client: Watched, user = 'alice'): Promise<void> {
    client.signIn(await jsonOf(client.fetch('/login', post({ user }))));
    client.told.claims.length = 0;
  }
}

const ACCESS_ONLY = { refresh: {} };

// biome-ignore lint/suspicious/noExplicitAny: tests look into it
const jsonOf = async (response: Promise<Response>): Promise<any> => (await response).json();

async function statusOf(response: Promise<Response>): Promise<number> {
  return (await response).status;
}

async function codeOf(response: Promise<Response>): Promise<string> {
  return (await jsonOf(response)).code;
}

const closeAll = async () => {
  await Promise.all([...open].map((one) => one.close()));
  open.clear();
  await closeApps();
};

afterEach(closeAll);

// --- tests -------------------------------------------------------------------------------------

describe('The client and the quick start', () => {
  let server: ServiceProcess;

  beforeAll(async () => {
    server = await ServiceProcess.start('sample/01-subscription/main.ts', /listens on/, {
      PORT: '0',
      REDIS_URL: '',
    });
  }, 90_000);
  afterAll(() => server.stop());

  async function signedIn(username: string): Promise<Watched> {
    const client = createClient({ baseUrl: server.url });
    const credentials = { username, password: `${username}-password` };
    client.signIn(await jsonOf(client.fetch('/auth/login', post(credentials))));
    return client;
  }
  const subscribe = (client: Watched, plan: string) =>
    client.fetch('/subscription', post({ plan }));

  it('sends the token, and says what it says', async () => {
    const client = createClient({ baseUrl: server.url });
    expect(client.claims()).toBeUndefined();
    const alice = await signedIn('alice');
    const me = await jsonOf(alice.fetch('/me'));
    expect(me).toEqual(alice.claims());
    expect(alice.claims()).toMatchObject({ sub: 'alice', tenant: 'acme' });
    expect(alice.claims()).toBe(alice.claims());
    expect(alice.told.claims).toEqual([['free', undefined]]);
  });

  it('has the new plan once the response is there', async () => {
    const client = await signedIn('alice');
    expect(await statusOf(client.fetch('/premium/report'))).toBe(403);
    await subscribe(client, 'premium');
    expect(client.claims()?.plan).toBe('premium');
    expect(await statusOf(client.fetch('/premium/report'))).toBe(200);
    await subscribe(client, 'free');
    expect(client.told.claims).toEqual([
      ['free', undefined],
      ['premium', 'free'],
      ['free', 'premium'],
    ]);
  });

  it('lets none of twenty parallel requests fail across an upgrade', async () => {
    const client = await signedIn('alice');
    const requests = Array.from({ length: 20 }, (_, index) =>
      index === 10 ? subscribe(client, 'premium') : client.fetch('/me'),
    );
    const statuses = await Promise.all(requests.map(statusOf));
    expect(statuses).toEqual(statuses.map(() => 200));
    expect(client.claims()?.plan).toBe('premium');
    await subscribe(client, 'free');
    expect(client.told.signedOut).toEqual([]);
  });

  it('hears of what somebody else has changed', async () => {
    const [bob, root] = [await signedIn('bob'), await signedIn('root')];
    await root.fetch('/admin/users/bob/role', post({ role: 'admin' }));
    await bob.fetch('/me');
    expect(bob.claims()?.role).toBe('admin');
    await root.fetch('/admin/users/bob/role', post({ role: 'member' }));
  });

  it('renews a token that is still valid with nothing else', async () => {
    const client = await signedIn('alice');
    const before = client.claims();
    expect(await client.refresh()).toBe(true);
    expect(client.claims()?.jti).not.toBe(before?.jti);
    expect(client.claims()?.sid).toBe(before?.sid);
    expect(await statusOf(client.fetch('/me'))).toBe(200);
  });

  it('tells once that the session is over, however many requests find that out', async () => {
    const [here, there] = [await signedIn('alice'), await signedIn('alice')];
    await there.fetch('/auth/logout-everywhere', { method: 'POST' });
    const codes = await Promise.all(Array.from({ length: 5 }, () => codeOf(here.fetch('/me'))));
    expect(codes).toEqual(codes.map(() => 'TOKEN_REVOKED'));
    expect(here.told.signedOut).toEqual(['TOKEN_REVOKED']);
    expect(here.claims()).toBeUndefined();
    expect(here.told.claims.at(-1)).toEqual([undefined, 'free']);
  });

  it('leaves a 401 alone that speaks of a password', async () => {
    const client = await signedIn('alice');
    const wrong = client.fetch('/auth/login', post({ username: 'bob', password: 'wrong' }));
    expect(await statusOf(wrong)).toBe(401);
    expect(client.claims()?.sub).toBe('alice');
    expect(client.told.signedOut).toEqual([]);
  });
});

describe('Which token the client keeps', () => {
  let place: Place;
  let client: Watched;

  beforeEach(async () => {
    place = await Place.start(ACCESS_ONLY);
    client = await place.signedIn();
  });

  it('does not go back to an older one that comes late', async () => {
    await place.app.change('alice', { plan: 'premium' });
    const late = place.proxy.holdAnswer('/me');
    const slow = client.fetch('/me');
    await late.arrived();
    await place.app.change('alice', { plan: 'team' });
    await client.fetch('/premium');
    expect(client.claims()?.plan).toBe('team');
    late.release();
    expect((await slow).headers.get('authorization')).toMatch(/^Bearer /);
    expect(client.claims()?.plan).toBe('team');
    expect(client.told.claims).toEqual([['team', 'free']]);
  });

  it('takes the newer one that comes in the answer of an error', async () => {
    await place.app.change('alice', { plan: 'team' });
    expect(await statusOf(client.fetch('/premium'))).toBe(403);
    expect(client.claims()?.plan).toBe('team');
  });

  it('does not bring a former user back', async () => {
    await place.app.change('alice', { plan: 'premium' });
    const late = place.proxy.holdAnswer('/me');
    const slow = client.fetch('/me');
    await late.arrived();
    await place.logIn(client, 'bob');
    late.release();
    expect((await jsonOf(slow)).sub).toBe('alice');
    expect(client.claims()?.sub).toBe('bob');
    expect(await jsonOf(client.fetch('/me'))).toMatchObject({ sub: 'bob' });
  });

  it('does not bring a session back that has ended meanwhile', async () => {
    await place.app.change('alice', { plan: 'premium' });
    const late = place.proxy.holdAnswer('/me');
    const slow = client.fetch('/me');
    await late.arrived();
    client.signOut();
    late.release();
    await slow;
    expect(client.claims()).toBeUndefined();
    expect(client.told.signedOut).toEqual(['SIGNED_OUT']);
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_MISSING');
  });

  it('does not end a session because a former one was revoked', async () => {
    const late = place.proxy.holdRequest('/me');
    const slow = client.fetch('/me');
    await late.arrived();
    await place.app.tokens.revoke({ sub: 'alice' });
    await place.logIn(client, 'bob');
    late.release();
    expect(await codeOf(slow)).toBe('TOKEN_REVOKED');
    expect(client.claims()?.sub).toBe('bob');
    expect(client.told.signedOut).toEqual([]);
  });

  it('takes another session only from a sign-in', async () => {
    const other = await place.app.logIn('bob');
    place.proxy.answer('/me', 200, { authorization: `Bearer ${other}` });
    await client.fetch('/me');
    expect(client.claims()?.sub).toBe('alice');
    client.signIn(other);
    expect(client.claims()?.sub).toBe('bob');
  });

  it('takes nothing while nobody is signed in', async () => {
    const token = await place.app.logIn('bob');
    const stranger = place.client();
    place.proxy.answer('/me', 200, { authorization: `Bearer ${token}` });
    await stranger.fetch('/me');
    expect(stranger.claims()).toBeUndefined();
  });

  it.each([
    ['no Bearer', 'Basic YWxpY2U6c2VjcmV0'],
    ['no token', 'Bearer junk'],
    ['no payload', 'Bearer a.b.c'],
    ['no object', `Bearer a.${Buffer.from('null').toString('base64url')}.c`],
    ['no ids', `Bearer a.${Buffer.from('{"sub":"alice"}').toString('base64url')}.c`],
    ['two of them', 'Bearer a.e30.c, Bearer a.e30.c'],
  ])('ignores a header that holds %s', async (_, authorization) => {
    const before = client.claims();
    place.proxy.answer('/me', 200, { authorization });
    await client.fetch('/me');
    expect(client.claims()).toBe(before);
    expect(await statusOf(client.fetch('/me'))).toBe(200);
  });

  it('keeps the newer token of a session that signs in again', async () => {
    const first = await place.app.logIn('alice');
    client.signIn(first);
    await place.app.change('alice', { plan: 'premium' });
    await client.fetch('/me');
    client.signIn(first);
    expect(client.claims()?.plan).toBe('premium');
  });

  it('refuses to sign in with what holds no token', () => {
    expect(() => client.signIn({})).toThrow(TypeError);
    expect(() => client.signIn('junk')).toThrow(TypeError);
    expect(client.claims()?.sub).toBe('alice');
  });

  it('does not fail a request because a listener throws', async () => {
    const angry = createTokenClient({
      baseUrl: place.proxy.url,
      onClaimsChanged: () => {
        throw new Error('a mistake of the application');
      },
    });
    open.add(angry);
    const { error } = console;
    const errors: unknown[] = [];
    console.error = (value: unknown) => errors.push(value);
    angry.signIn(await place.app.logIn('alice'));
    await place.app.change('alice', { plan: 'premium' });
    expect(await statusOf(angry.fetch('/me'))).toBe(200);
    console.error = error;
    expect(angry.claims()?.plan).toBe('premium');
    expect(errors).toHaveLength(2);
  });
});

describe('Where the client finds tokens', () => {
  it('takes the bare token of another header', async () => {
    const delivery = { header: 'X-Token' };
    const place = await Place.start({ ...ACCESS_ONLY, delivery });
    const client = await place.signedIn({ delivery });
    await place.app.change('alice', { plan: 'premium' });
    const response = await client.fetch('/me');
    expect(response.headers.get('x-token')).toMatch(/^eyJ/);
    expect(client.claims()?.plan).toBe('premium');
  });

  it('takes a field of the body, which the application can still read', async () => {
    const delivery = { header: false, body: 'token' } as const;
    const place = await Place.start({ ...ACCESS_ONLY, delivery });
    const client = await place.signedIn({ delivery });
    const response = await client.fetch('/plan', post({ plan: 'premium' }));
    expect(await response.json()).toEqual({ changed: 'premium', token: expect.any(String) });
    expect(client.claims()?.plan).toBe('premium');
  });

  it.each(['5', '{"token":5}', '{"token":null}', 'null', '{'])(
    'ignores a body %s',
    async (body) => {
      const place = await Place.start(ACCESS_ONLY);
      const client = await place.signedIn({ delivery: { body: 'token' } });
      place.proxy.answer('/me', 200, JSON_BODY, body);
      expect(await (await client.fetch('/me')).text()).toBe(body);
      expect(client.claims()?.sub).toBe('alice');
    },
  );
});

describe('To whom the client shows the token', () => {
  let place: Place;
  let foreign: HttpProxy;

  beforeEach(async () => {
    place = await Place.start(ACCESS_ONLY);
    foreign = await proxyTo(place.app.url);
  });

  const shown = ({ seen }: HttpProxy) => seen.at(-1)?.headers.authorization;

  it('to its own origin only', async () => {
    const client = await place.signedIn();
    await client.fetch('/me');
    expect(shown(place.proxy)).toMatch(/^Bearer eyJ/);
    await client.fetch(`${foreign.url}/me`);
    await client.fetch(new URL('/me', foreign.url));
    await client.fetch(new Request(`${foreign.url}/me`));
    expect(foreign.seen.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(client.told.signedOut).toEqual([]);
  });

  it('to the origins that are named', async () => {
    const client = await place.signedIn({ origins: [place.proxy.url, foreign.url] });
    expect(await statusOf(client.fetch(`${foreign.url}/me`))).toBe(200);
    expect(shown(foreign)).toMatch(/^Bearer eyJ/);
  });

  it('not where the request brings a credential of its own', async () => {
    const client = await place.signedIn();
    const headers = { authorization: 'Bearer mine' };
    expect(await codeOf(client.fetch('/me', { headers }))).toBe('TOKEN_INVALID');
    expect(shown(place.proxy)).toBe('Bearer mine');
    expect(client.claims()?.sub).toBe('alice');
  });

  it('not behind a redirect to another origin, from which it takes nothing either', async () => {
    const client = await place.signedIn();
    await place.app.change('alice', { plan: 'premium' });
    const newer = (await place.app.get('/me', await tokenOf(client, place.proxy))).token;
    place.proxy.answer('/me', 302, { location: `${foreign.url}/there` });
    foreign.answer('/there', 200, { authorization: `Bearer ${newer}` });
    const response = await client.fetch('/me');
    expect(response.url).toBe(`${foreign.url}/there`);
    expect(shown(foreign)).toBeUndefined();
    expect(client.claims()?.plan).toBe('free');
    place.proxy.answer('/me', 302, { location: `${foreign.url}/there` });
    foreign.answer('/there', 401, JSON_BODY, '{"code":"TOKEN_REVOKED"}');
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_REVOKED');
    expect(client.told.signedOut).toEqual([]);
  });

  it('and is not signed out where a redirect between own origins loses it', async () => {
    const client = await place.signedIn({ origins: [place.proxy.url, foreign.url] });
    place.proxy.answer('/me', 302, { location: `${foreign.url}/me` });
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_MISSING');
    expect(client.claims()?.sub).toBe('alice');
    expect(client.told.signedOut).toEqual([]);
  });

  it.each<[string, object, RegExp]>([
    ['no page and no baseUrl', {}, /^baseUrl is missing/],
    ['an address that is none', { baseUrl: 'api.example.com' }, /^baseUrl: "api.example.com" must/],
    ['an opaque origin', { baseUrl: 'app://shop' }, /^baseUrl: "app:\/\/shop" must/],
    [
      'an origin without a scheme',
      { baseUrl: 'https://a.example', origins: ['api.example.com'] },
      /^origins: "api.example.com" must be an address like "https:/,
    ],
    [
      'an origin whose scheme is its host',
      { baseUrl: 'https://a.example', origins: ['localhost:3000'] },
      /^origins: "localhost:3000" must/,
    ],
    [
      'a storage that is no function',
      { baseUrl: 'https://a.example', storage: new PageStorage() },
      /^storage must be a function: \(\) => localStorage/,
    ],
    [
      'a refresh route of an origin that is not named',
      { baseUrl: 'https://a.example', refresh: { url: 'https://b.example/refresh' } },
      /^refresh.url: "https:\/\/b.example\/refresh" is none of the origins/,
    ],
  ])('says what is wrong: %s', (_, options, message) => {
    expect(() => createTokenClient(options as TokenClientOptions)).toThrow(message);
    expect(() => createTokenClient(options as TokenClientOptions)).toThrow(TypeError);
  });
});

/** The token that it sends. */
async function tokenOf(client: TokenClient, proxy: HttpProxy): Promise<string> {
  proxy.answer('/any', 204, {});
  await client.fetch('/any');
  return proxy.seen.at(-1)?.headers.authorization?.slice('Bearer '.length) ?? '';
}

describe('A token that is refused', () => {
  it('is refreshed once for all requests that wait, and each of them is sent again once', async () => {
    const place = await Place.start();
    const client = await place.signedIn();
    clock.advance('16m');
    const requests = Array.from({ length: 10 }, (_, index) =>
      client.fetch('/echo', post({ index })),
    );
    const answers = await Promise.all(requests.map(jsonOf));
    expect(answers.map(({ body }) => body.index)).toEqual([...answers.keys()]);
    expect(place.proxy.count(REFRESH)).toBe(1);
    expect(place.proxy.count('/echo')).toBe(20);
    // The guard has refused the first ones before anything happened.
    expect(place.echo.handled).toBe(10);
    expect(client.told).toEqual({ claims: [], signedOut: [] });
  });

  it('is replaced by one that has come meanwhile, without a refresh', async () => {
    const place = await Place.start();
    const client = await place.signedIn();
    const slow = place.proxy.holdRequest('/me');
    const request = client.fetch('/me');
    await slow.arrived();
    await place.app.change('alice', { plan: 'premium' });
    await client.fetch('/premium');
    clock.advance('31s');
    slow.release();
    expect(await statusOf(request)).toBe(200);
    expect(place.proxy.count('/me')).toBe(2);
    expect(place.proxy.count(REFRESH)).toBe(0);
  });

  it('is refreshed where it was superseded and nothing newer has arrived', async () => {
    const place = await Place.start();
    const client = await place.signedIn();
    await place.app.change('alice', { plan: 'premium' });
    place.proxy.drop('/me');
    await expect(client.fetch('/me')).rejects.toThrow();
    clock.advance('31s');
    expect(await statusOf(client.fetch('/me'))).toBe(200);
    expect(place.proxy.count(REFRESH)).toBe(1);
    expect(client.claims()?.plan).toBe('premium');
  });

  it('ends the session where it was superseded and there is no refresh token', async () => {
    const place = await Place.start(ACCESS_ONLY);
    const client = await place.signedIn();
    await place.app.change('alice', { plan: 'premium' });
    place.proxy.drop('/me');
    await expect(client.fetch('/me')).rejects.toThrow();
    clock.advance('31s');
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_SUPERSEDED');
    expect(client.told.signedOut).toEqual(['TOKEN_SUPERSEDED']);
    expect(place.proxy.count(REFRESH)).toBe(0);
  });

  it('ends the session where it has expired and there is no refresh token', async () => {
    const place = await Place.start(ACCESS_ONLY);
    const client = await place.signedIn();
    clock.advance('16m');
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_EXPIRED');
    expect(client.told.signedOut).toEqual(['TOKEN_EXPIRED']);
    expect(place.proxy.count(REFRESH)).toBe(0);
  });

  it('is missing: told once, and not for ever', async () => {
    const place = await Place.start();
    const client = place.client();
    for (let time = 0; time < 3; time++) await client.fetch('/me');
    expect(client.told.signedOut).toEqual(['TOKEN_MISSING']);
    expect(place.proxy.count('/me')).toBe(3);
    await place.logIn(client);
    expect(await statusOf(client.fetch('/me'))).toBe(200);
  });

  describe('because it is stale, by a service that only verifies', () => {
    let place: Place;
    let verifying: HttpProxy;
    let client: Watched;

    beforeEach(async () => {
      place = await Place.start(ACCESS_ONLY);
      const { store } = place.app;
      const app = await startApp({ store, account: false, options: { claims: undefined } });
      verifying = await proxyTo(app.url);
      client = await place.signedIn({ origins: [place.proxy.url, verifying.url] });
    });

    const change = (plan: string) => place.app.change('alice', { plan });
    const ask = () => client.fetch(`${verifying.url}/me`);

    it('is refreshed where it was issued, with nothing but itself', async () => {
      await change('premium');
      expect(await jsonOf(ask())).toMatchObject({ plan: 'premium' });
      expect([place.proxy.count(REFRESH), verifying.count('/me')]).toEqual([1, 2]);
      expect(client.told.claims).toEqual([['premium', 'free']]);
    });

    it('once more, where it is stale again when it arrives', async () => {
      await change('premium');
      verifying.before('/me', async () => {});
      verifying.before('/me', () => change('team'));
      expect(await jsonOf(ask())).toMatchObject({ plan: 'team' });
      expect([place.proxy.count(REFRESH), verifying.count('/me')]).toEqual([2, 3]);
    });

    it('and not for ever', async () => {
      for (let time = 0; time < 9; time++) verifying.before('/me', () => change(`plan ${time}`));
      expect(await codeOf(ask())).toBe('TOKEN_STALE');
      expect([place.proxy.count(REFRESH), verifying.count('/me')]).toEqual([2, 3]);
      expect(client.told.signedOut).toEqual([]);
    });

    it('and handed back where there is no refresh route', async () => {
      const without = await place.signedIn({
        origins: [place.proxy.url, verifying.url],
        refresh: false,
      });
      await change('premium');
      expect(await codeOf(without.fetch(`${verifying.url}/me`))).toBe('TOKEN_STALE');
      expect(without.claims()?.sub).toBe('alice');
      expect(await without.refresh()).toBe(false);
      expect(place.proxy.count(REFRESH)).toBe(0);
    });
  });
});

describe('A request that is sent again', () => {
  let place: Place;
  let client: Watched;

  beforeEach(async () => {
    place = await Place.start();
    client = await place.signedIn();
    clock.advance('16m');
  });

  const body = { amount: 5, to: 'bob' };

  it.each<[string, () => Parameters<TokenClient['fetch']>]>([
    ['a text', () => ['/echo', post(body)]],
    ['a form', () => ['/echo', { method: 'POST', body: new URLSearchParams({ to: 'bob' }) }]],
    ['bytes', () => ['/echo', post(0, { body: Buffer.from(JSON.stringify(body)) })]],
    ['a Blob', () => ['/echo', post(0, { body: new Blob([JSON.stringify(body)]) })]],
    ['a Request', () => [new Request(`${place.proxy.url}/echo`, post(body))]],
    ['a Request and options', () => [new Request(`${place.proxy.url}/echo`), post(body)]],
    [
      'a Request made from a stream',
      () => [new Request(`${place.proxy.url}/echo`, streamed(JSON.stringify(body)))],
    ],
  ])('has the same body: %s', async (_, args) => {
    const response = await client.fetch(...args());
    expect(await response.json()).toMatchObject({ body: { to: 'bob' } });
    const [first, second] = place.proxy.seen.filter(({ path }) => path === '/echo');
    expect(second?.body).toBe(first?.body);
    expect(second?.headers['content-type']).toBe(first?.headers['content-type']);
  });

  it.each<[string, () => RequestInit]>([
    ['a stream', () => streamed(JSON.stringify(body))],
    ['an iterable', () => ({ ...streamed(''), body: chunks() as unknown as ReadableStream })],
  ])('is not one whose body is %s: it is refused, and the token is renewed', async (_, init) => {
    expect(await codeOf(client.fetch('/echo', init()))).toBe('TOKEN_EXPIRED');
    expect(place.proxy.count('/echo')).toBe(1);
    expect(place.echo.handled).toBe(0);
    expect(await statusOf(client.fetch('/echo', init()))).toBe(201);
    expect(place.proxy.count(REFRESH)).toBe(1);
  });

  async function* chunks() {
    yield Buffer.from(JSON.stringify(body));
  }

  it('does not go out with the token of another user', async () => {
    const slow = place.proxy.holdAnswer(REFRESH);
    const request = client.fetch('/echo', post(body));
    await slow.arrived();
    const bob = await place.app.logInFor('bob');
    client.signIn({ access_token: bob.accessToken, refresh_token: bob.refreshToken });
    slow.release();
    expect(await codeOf(request)).toBe('TOKEN_EXPIRED');
    expect(place.echo.handled).toBe(0);
    expect(client.claims()?.sub).toBe('bob');
  });

  it('does not wait for the refresh of a former user', async () => {
    const bob = await place.app.logInFor('bob');
    clock.advance('16m');
    const slow = place.proxy.holdAnswer(REFRESH);
    const request = client.fetch('/me');
    await slow.arrived();
    client.signIn({ access_token: bob.accessToken, refresh_token: bob.refreshToken });
    expect(await jsonOf(client.fetch('/me'))).toMatchObject({ sub: 'bob' });
    slow.release();
    expect(await codeOf(request)).toBe('TOKEN_EXPIRED');
  });

  it('does not wait longer than its caller', async () => {
    const slow = place.proxy.holdAnswer(REFRESH);
    const controller = new AbortController();
    const impatient = client.fetch('/me', { signal: controller.signal });
    await slow.arrived();
    const patient = client.fetch('/me');
    const began = performance.now();
    controller.abort(new Error('enough'));
    await expect(impatient).rejects.toThrow('enough');
    // And not because the refresh has been given up.
    expect(performance.now() - began).toBeLessThan(5_000);
    slow.release();
    expect(await statusOf(patient)).toBe(200);
  });
});

function streamed(text: string): RequestInit {
  return { method: 'POST', headers: JSON_BODY, body: new Blob([text]).stream(), duplex: 'half' };
}

describe('A refresh', () => {
  let place: Place;
  let users: Users;
  let client: Watched;

  beforeEach(async () => {
    users = new Users();
    place = await Place.start({}, users);
    client = await place.signedIn();
  });

  it('sends the refresh token as a form, and no access token', async () => {
    await client.refresh();
    const [request] = place.proxy.seen.filter(({ path }) => path === REFRESH);
    expect(request?.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded/);
    expect(request?.body).toMatch(/^grant_type=refresh_token&refresh_token=eyJ/);
    expect(request?.headers.authorization).toBeUndefined();
  });

  it('rotates the refresh token each time', async () => {
    for (let time = 0; time < 4; time++) {
      clock.advance('16m');
      expect(await statusOf(client.fetch('/me'))).toBe(200);
    }
    const sent = place.proxy.seen.filter(({ path }) => path === REFRESH).map(({ body }) => body);
    expect(new Set(sent).size).toBe(4);
  });

  it('whose answer gets lost is repeated with the same refresh token', async () => {
    clock.advance('16m');
    place.proxy.drop(REFRESH);
    expect(await statusOf(client.fetch('/me'))).toBe(200);
    const [first, second] = place.proxy.seen.filter(({ path }) => path === REFRESH);
    expect(second?.body).toBe(first?.body);
    clock.advance('16m');
    expect(await statusOf(client.fetch('/me'))).toBe(200);
    expect(client.told.signedOut).toEqual([]);
  });

  it('that cannot be had is thrown as fetch does, three attempts later, and costs nothing', async () => {
    clock.advance('16m');
    for (let time = 0; time < 3; time++) place.proxy.drop(REFRESH);
    await expect(client.fetch('/me')).rejects.toThrow('fetch failed');
    expect(place.proxy.count(REFRESH)).toBe(3);
    expect(client.claims()?.sub).toBe('alice');
    clock.advance('10m');
    expect(await statusOf(client.fetch('/me'))).toBe(200);
    expect(client.told.signedOut).toEqual([]);
  });

  it('that hangs is given up', async () => {
    const impatient = place.client({ refresh: { timeout: 300 } });
    await place.logIn(impatient);
    clock.advance('16m');
    const holds = [1, 2, 3].map(() => place.proxy.holdRequest(REFRESH));
    await expect(impatient.fetch('/me')).rejects.toThrow(/timeout/);
    for (const hold of holds) hold.release();
    expect(impatient.claims()?.sub).toBe('alice');
  });

  it('waits as long as a 503 says, and tries again', async () => {
    clock.advance('16m');
    users.fail('throws');
    const way = place.proxy.holdAnswer(REFRESH);
    const request = client.fetch('/me');
    await way.arrived();
    users.recover();
    const began = performance.now();
    way.release();
    expect(await statusOf(request)).toBe(200);
    expect(performance.now() - began).toBeGreaterThan(990);
    expect(place.proxy.count(REFRESH)).toBe(2);
  });

  it('hands a 503 that goes on to all who wait, and keeps the tokens', async () => {
    clock.advance('16m');
    users.fail('throws');
    const codes = await Promise.all([
      codeOf(client.fetch('/me')),
      codeOf(client.fetch('/premium')),
    ]);
    expect(codes).toEqual(['CLAIMS_UNAVAILABLE', 'CLAIMS_UNAVAILABLE']);
    expect(place.proxy.count(REFRESH)).toBe(3);
    expect(client.claims()?.sub).toBe('alice');
    users.recover();
    expect(await statusOf(client.fetch('/me'))).toBe(200);
    expect(client.told.signedOut).toEqual([]);
  });

  it.each([
    ['503', 503],
    ['429', 429],
  ])('hands a %s back at once that asks for a minute', async (_, status) => {
    clock.advance('16m');
    place.proxy.answer(REFRESH, status, { 'retry-after': '60' });
    expect(await statusOf(client.fetch('/me'))).toBe(status);
    expect(place.proxy.count(REFRESH)).toBe(1);
    expect(client.told.signedOut).toEqual([]);
    expect(await client.refresh()).toBe(true);
  });

  it('that is refused ends the session', async () => {
    await place.app.tokens.revoke({ sub: 'alice' });
    clock.advance('16m');
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_EXPIRED');
    expect(client.told.signedOut).toEqual(['INVALID_GRANT']);
    expect(client.claims()).toBeUndefined();
    expect(await client.refresh()).toBe(false);
    expect(place.proxy.count(REFRESH)).toBe(1);
  });

  it.each<[string, number, Record<string, string>, string]>([
    ['a page', 404, { 'content-type': 'text/html' }, '<h1>Not found</h1>'],
    ['a 403', 403, JSON_BODY, '{"message":"CSRF"}'],
    ['a mistake in the request', 400, JSON_BODY, '{"code":"INVALID_REQUEST"}'],
  ])(
    'that is answered by %s says nothing: the 401 is handed back',
    async (_, status, headers, body) => {
      clock.advance('16m');
      place.proxy.answer(REFRESH, status, headers, body);
      expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_EXPIRED');
      expect(place.proxy.count(REFRESH)).toBe(1);
      expect(client.told.signedOut).toEqual([]);
      expect(await statusOf(client.fetch('/me'))).toBe(200);
    },
  );

  it('does not carry the refresh token to where a redirect leads', async () => {
    const foreign = await proxyTo(place.app.url);
    for (let time = 0; time < 3; time++) {
      place.proxy.answer(REFRESH, 307, { location: `${foreign.url}${REFRESH}` });
    }
    await expect(client.refresh()).rejects.toThrow();
    expect(foreign.seen).toEqual([]);
  });

  it.each(['after', 'without'])(
    'does not bring a session back that has ended meanwhile, %s another sign-in',
    async (how) => {
      const slow = place.proxy.holdAnswer(REFRESH);
      const refresh = client.refresh();
      await slow.arrived();
      client.signOut();
      if (how === 'after') client.signIn(forge({ payload: { sub: 'bob' } }));
      slow.release();
      expect(await refresh).toBe(false);
      expect(client.claims()).toEqual(how === 'after' ? { sub: 'bob' } : undefined);
    },
  );

  it('asks at the url that is named', async () => {
    const elsewhere = await Place.start({
      refresh: { path: 'session/renew', tokens: {} },
    });
    const other = await elsewhere.signedIn({ refresh: { url: '/session/renew' } });
    expect(await other.refresh()).toBe(true);
  });

  it('does nothing for nobody', async () => {
    expect(await place.client().refresh()).toBe(false);
    expect(place.proxy.count(REFRESH)).toBe(0);
  });

  it('leaves a 503 of a handler to its caller', async () => {
    place.proxy.answer(
      '/me',
      503,
      { ...JSON_BODY, 'retry-after': '1' },
      '{"code":"DENY_LIST_UNAVAILABLE"}',
    );
    expect(await codeOf(client.fetch('/me'))).toBe('DENY_LIST_UNAVAILABLE');
    expect(place.proxy.count('/me')).toBe(1);
    expect(client.claims()?.sub).toBe('alice');
  });
});

describe('Ahead of expiry', () => {
  it('a token is renewed with no request, again and again', async () => {
    const place = await Place.start({ accessToken: { expiresIn: 2 } });
    const client = await place.signedIn({ refresh: { ahead: true } });
    const first = client.claims();
    await eventually(() => expect(place.proxy.count(REFRESH)).toBe(2));
    expect(client.claims()?.exp).toBeGreaterThan(first?.exp ?? 0);
    client.close();
    const { length } = place.proxy.seen;
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(place.proxy.seen).toHaveLength(length);
  });

  it('does not happen where it is off', async () => {
    const place = await Place.start({ accessToken: { expiresIn: 1 } });
    await place.signedIn({ refresh: { ahead: false } });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(place.proxy.count(REFRESH)).toBe(0);
  });

  it('ends the session where that is over', async () => {
    const place = await Place.start({ accessToken: { expiresIn: 2 } });
    const client = await place.signedIn({ refresh: { ahead: true } });
    await place.app.tokens.revoke({ sub: 'alice' });
    await eventually(() => expect(client.told.signedOut).toEqual(['INVALID_GRANT']));
  });

  it('does not keep a process alive', async () => {
    const place = await Place.start();
    const { accessToken } = await place.app.logInFor('alice');
    const env = { BASE_URL: place.app.url, TOKEN: accessToken };
    expect(await ServiceProcess.finish('test/support/client-process.ts', [], env)).toMatch(/alice/);
  });
});

describe('Tabs', () => {
  let place: Place;
  let storage: PageStorage;
  let locks: PageLocks;

  beforeEach(async () => {
    place = await Place.start();
    storage = new PageStorage();
    locks = new PageLocks();
  });

  /** One tab of a browser. */
  const tab = (options: TokenClientOptions = {}) =>
    place.client({ name: 'tabs', tabs: true, storage: () => storage, locks, ...options });
  const inMemory = () => tab({ storage: undefined });
  /** Under which a session lies. */
  const keyOf = ({ items }: PageStorage) => [...items.keys()][0] ?? '';
  const sub = (client: Watched) => client.claims()?.sub;

  it('follow a sign-in, a change and a sign-out in one of them', async () => {
    const [one, two, three] = [tab(), inMemory(), inMemory()];
    await place.logIn(one);
    await eventually(() => expect([one, two, three].map(sub)).toEqual(['alice', 'alice', 'alice']));
    await place.app.change('alice', { plan: 'premium' });
    await two.fetch('/me');
    await eventually(() => expect(three.told.claims.at(-1)).toEqual(['premium', 'free']));
    expect(one.claims()).toEqual(two.claims());
    three.signOut();
    await eventually(() => expect(one.told.signedOut).toEqual(['SIGNED_OUT']));
    await eventually(() => expect(two.told.signedOut).toEqual(['SIGNED_OUT']));
    expect([one, two, three].map(sub)).toEqual([undefined, undefined, undefined]);
  });

  it('follow another user', async () => {
    const [one, two] = [tab(), tab()];
    await place.logIn(one);
    await place.logIn(two, 'bob');
    await eventually(() => expect(sub(one)).toBe('bob'));
    expect(await jsonOf(one.fetch('/me'))).toMatchObject({ sub: 'bob' });
    expect(one.told.signedOut).toEqual([]);
  });

  it('meet in their storage where there is no channel', async () => {
    const [one, two] = [tab({ tabs: false }), tab({ tabs: false })];
    await place.logIn(one);
    expect(sub(two)).toBe('alice');
    two.signOut();
    expect(await codeOf(one.fetch('/me'))).toBe('TOKEN_MISSING');
    expect(one.told.signedOut).toEqual(['SIGNED_OUT']);
  });

  it('refresh once, whoever of them needs it', async () => {
    const tabs = [tab(), tab(), tab()];
    await place.logIn(tabs[0] as Watched);
    await eventually(() => expect(tabs.map(sub)).toEqual(['alice', 'alice', 'alice']));
    clock.advance('16m');
    const statuses = await Promise.all(tabs.map((one) => statusOf(one.fetch('/me'))));
    expect(statuses).toEqual([200, 200, 200]);
    expect(place.proxy.count(REFRESH)).toBe(1);
  });

  it('do not sign each other out where there are no locks', async () => {
    const tabs = [tab({ locks: undefined }), tab({ locks: undefined }), tab({ locks: undefined })];
    await place.logIn(tabs[0] as Watched);
    await eventually(() => expect(tabs.map(sub)).toEqual(['alice', 'alice', 'alice']));
    for (let time = 0; time < 3; time++) {
      clock.advance('16m');
      const statuses = await Promise.all(tabs.map((one) => statusOf(one.fetch('/me'))));
      expect(statuses).toEqual([200, 200, 200]);
    }
    expect(tabs.flatMap(({ told }) => told.signedOut)).toEqual([]);
  });

  it('do not wait for ever for one that sleeps with the lock', async () => {
    const [one] = [tab({ refresh: { timeout: 200 } })];
    await place.logIn(one as Watched);
    void locks.request(`${keyOf(storage)}:refresh`, {}, () => new Promise(() => {}));
    clock.advance('16m');
    expect(await statusOf((one as Watched).fetch('/me'))).toBe(200);
  });

  it('do not write an older token over a newer one', async () => {
    const [one, two] = [tab({ tabs: false }), tab({ tabs: false })];
    await place.logIn(one);
    expect(sub(two)).toBe('alice');
    await place.app.change('alice', { plan: 'premium' });
    const late = place.proxy.holdAnswer('/me');
    const slow = one.fetch('/me');
    await late.arrived();
    await place.app.change('alice', { plan: 'team' });
    await two.fetch('/premium');
    late.release();
    await slow;
    expect(tab({ tabs: false }).claims()?.plan).toBe('team');
  });

  it('go on after a reload', async () => {
    await place.logIn(tab());
    const reloaded = tab();
    expect(sub(reloaded)).toBe('alice');
    expect(reloaded.told.claims).toEqual([]);
    clock.advance('16m');
    expect(await statusOf(reloaded.fetch('/me'))).toBe(200);
    reloaded.signOut();
    expect(sub(tab())).toBeUndefined();
  });

  it('are not told of clients of another name', async () => {
    const [one, two] = [tab(), tab({ name: 'another' })];
    await place.logIn(one);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sub(two)).toBeUndefined();
  });

  it('go on in memory where the storage fails', async () => {
    const broken = new BrokenStorage();
    const throwing = () => {
      throw new Error('SecurityError');
    };
    for (const failing of [() => broken, throwing]) {
      const client = tab({ storage: failing, tabs: false });
      await place.logIn(client);
      await place.app.change('alice', { plan: 'premium' });
      expect(await statusOf(client.fetch('/me'))).toBe(200);
      expect(client.claims()?.plan).toBe('premium');
      await place.app.change('alice', { plan: 'free' });
    }
  });

  it.each(['junk', 'null', '5', '[]', '{"turn":"x"}', '{"turn":1e300}'])(
    'take no notice of %s in their storage',
    async (text) => {
      await place.logIn(tab());
      const key = keyOf(storage);
      storage.setItem(key, text);
      const client = tab({ tabs: false });
      expect(sub(client)).toBeUndefined();
      await place.logIn(client);
      storage.setItem(key, text);
      expect(await statusOf(client.fetch('/me'))).toBe(200);
    },
  );

  it('are none in Node unless one says so', async () => {
    const [one, two] = [place.client(), place.client()];
    await place.logIn(one);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sub(two)).toBeUndefined();
  });
});

describe('Tokens in cookies', () => {
  const COOKIES: Partial<JwtStateOptions> = {
    delivery: { cookie: { secure: false } },
    refresh: { tokens: { cookie: { secure: false } } },
  };
  let place: Place;
  let jar: CookieJar;

  beforeEach(async () => {
    place = await Place.start(COOKIES);
    jar = new CookieJar();
  });

  const inCookies = (options: TokenClientOptions = {}) =>
    place.client({
      delivery: { cookie: true },
      refresh: { cookie: true },
      csrf: (headers) => headers.set('X-CSRF-Token', 'from the page'),
      fetch: jar.fetch,
      ...options,
    });

  async function signedIn(options: TokenClientOptions = {}): Promise<Watched> {
    const client = inCookies(options);
    await client.fetch('/login-by-cookies', post({ user: 'alice' }));
    client.signIn();
    return client;
  }

  it('stay out of reach: requests carry no token, and there are no claims', async () => {
    const client = await signedIn();
    expect([...jar.cookies.keys()].sort()).toEqual(['refresh-token', 'token']);
    await place.app.change('alice', { plan: 'premium' });
    const me = await jsonOf(client.fetch('/me'));
    expect(me).toMatchObject({ plan: 'premium' });
    expect(client.claims()).toBeUndefined();
    expect(place.proxy.seen.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it('go with a CSRF header wherever something may change', async () => {
    const client = await signedIn();
    const echoed = await jsonOf(client.fetch('/echo', post({})));
    expect(echoed).toEqual({ body: {}, csrf: 'from the page', token: false });
    await client.fetch('/me');
    expect(place.proxy.seen.at(-1)?.headers['x-csrf-token']).toBeUndefined();
    await client.refresh();
    expect(place.proxy.seen.at(-1)?.headers['x-csrf-token']).toBe('from the page');
    const foreign = await proxyTo(place.app.url);
    await client.fetch(`${foreign.url}/echo`, post({}));
    expect(foreign.seen.at(-1)?.headers['x-csrf-token']).toBeUndefined();
    expect(foreign.seen.at(-1)?.headers.cookie).toBeUndefined();
  });

  it('are renewed when the browser has dropped the one that expired', async () => {
    const client = await signedIn();
    jar.cookies.delete('token');
    const requests = [client.fetch('/me'), client.fetch('/echo', post({})), client.fetch('/me')];
    expect(await Promise.all(requests.map(statusOf))).toEqual([200, 201, 200]);
    expect(place.proxy.count(REFRESH)).toBe(1);
    expect(jar.cookies.has('token')).toBe(true);
  });

  it('are found by a page that has just been loaded', async () => {
    await signedIn();
    jar.cookies.delete('token');
    const loaded = inCookies();
    expect(await statusOf(loaded.fetch('/me'))).toBe(200);
    expect(await inCookies().refresh()).toBe(true);
  });

  it('are gone: told once, and the refresh route is asked once', async () => {
    const client = inCookies();
    for (let time = 0; time < 3; time++) {
      expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_MISSING');
    }
    expect(client.told.signedOut).toEqual(['INVALID_REQUEST']);
    expect(place.proxy.count(REFRESH)).toBe(1);
  });

  it('are dead: told once', async () => {
    const client = await signedIn();
    await place.app.tokens.revoke({ sub: 'alice' });
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_REVOKED');
    expect(client.told.signedOut).toEqual(['TOKEN_REVOKED']);
    await client.fetch('/login-by-cookies', post({ user: 'alice' }));
    client.signIn();
    expect(await statusOf(client.fetch('/me'))).toBe(200);
  });

  it('are renewed ahead of expiry where one knows how long they live', async () => {
    const client = await signedIn({ refresh: { cookie: true, ahead: true } });
    client.signIn({ expires_in: 1 });
    await eventually(() => expect(place.proxy.count(REFRESH)).toBe(1));
  });

  it('are renewed in one tab for all', async () => {
    const shared = { name: 'cookies', tabs: true, locks: new PageLocks() };
    const tabs = [await signedIn(shared), inCookies(shared), inCookies(shared)];
    (tabs[0] as Watched).signIn();
    await new Promise((resolve) => setTimeout(resolve, 50));
    jar.cookies.delete('token');
    const statuses = await Promise.all(tabs.map((one) => statusOf(one.fetch('/me'))));
    expect(statuses).toEqual([200, 200, 200]);
    (tabs[1] as Watched).signOut();
    await eventually(() => expect(tabs[2]?.told.signedOut).toEqual(['SIGNED_OUT']));
  });

  it('without a refresh token are renewed while they are valid, and then over', async () => {
    const simple = await Place.start({ delivery: { cookie: { secure: false } }, refresh: {} });
    const client = simple.client({ delivery: { cookie: true }, fetch: jar.fetch });
    await client.fetch('/login-by-cookies', post({ user: 'alice' }));
    client.signIn();
    const before = jar.cookies.get('token')?.value;
    expect(await client.refresh()).toBe(true);
    expect(jar.cookies.get('token')?.value).not.toBe(before);
    jar.cookies.delete('token');
    expect(await codeOf(client.fetch('/me'))).toBe('TOKEN_MISSING');
    expect(client.told.signedOut).toEqual(['TOKEN_MISSING']);
  });

  describe('only the refresh token', () => {
    beforeEach(async () => {
      place = await Place.start({ refresh: { tokens: { cookie: { secure: false } } } });
    });

    const client = (options: TokenClientOptions = {}) =>
      place.client({ refresh: { cookie: true }, fetch: jar.fetch, ...options });

    async function logIn(one: Watched, user = 'alice') {
      one.signIn(await jsonOf(one.fetch('/login', post({ user }, { credentials: 'include' }))));
    }

    it('a loaded page has its session with the first request', async () => {
      await logIn(client());
      const loaded = client();
      expect(loaded.claims()).toBeUndefined();
      const statuses = await Promise.all([1, 2, 3].map(() => statusOf(loaded.fetch('/me'))));
      expect(statuses).toEqual([200, 200, 200]);
      expect(loaded.claims()?.sub).toBe('alice');
      expect(place.proxy.count(REFRESH)).toBe(1);
    });

    it('an expired access token is renewed by it', async () => {
      const one = client();
      await logIn(one);
      clock.advance('16m');
      expect(await statusOf(one.fetch('/me'))).toBe(200);
      const [refresh] = place.proxy.seen.filter(({ path }) => path === REFRESH);
      expect(refresh?.body).toBe('');
    });

    it('that has become that of another user ends the session of this one', async () => {
      const [one, two] = [client(), client()];
      await logIn(one);
      await logIn(two, 'bob');
      clock.advance('16m');
      expect(await codeOf(one.fetch('/me'))).toBe('TOKEN_EXPIRED');
      expect(one.told.signedOut).toEqual(['SESSION_REPLACED']);
      expect(two.claims()?.sub).toBe('bob');
    });
  });
});

describe('Tokens from before', () => {
  it('are traded in for a session of this library', async () => {
    const place = await Place.start({ ...ACCESS_ONLY, legacy: 'reissue' });
    const client = place.client();
    const iat = Math.floor(Date.now() / 1_000);
    const payload = { sub: 'alice', sid: 'of another kind', jti: 'old', iat, exp: iat + 900 };
    client.signIn(forge({ header: { typ: 'JWT' }, payload }));
    expect(await statusOf(client.fetch('/me'))).toBe(200);
    expect(client.claims()).toMatchObject({ sub: 'alice', plan: 'free', seen: expect.anything() });
    expect(claimsOf(await tokenOf(client, place.proxy)).sid).toBe(client.claims()?.sid);
  });
});
