import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  createTokenClient,
  type TokenClient,
  type TokenClientOptions,
} from 'nestjs-jwt-state/client';
import { aheadOfExpiry } from '../../lib/client/ahead-of-expiry.js';
import { PageLocks, PageStorage } from '../support/browser-parts.js';
import { encode } from '../support/forge.js';

const API = 'https://api.example.com';
const REFRESH = `${API}/auth/refresh-token`;

let tokens = 0;
const NOW = () => Math.floor(Date.now() / 1_000);
function token(sid = 'alice', claims: object = {}): string {
  tokens += 1;
  const jti = String(tokens).padStart(6, '0');
  const payload = { sub: sid, sid, jti, seen: {}, iat: NOW(), exp: NOW() + 900, ...claims };
  return `e30.${encode(JSON.stringify(payload))}.c2ln`;
}

type Answer = Response | Promise<Response>;

/** A client whose requests are answered here. */
describe('A client', () => {
  const clients: TokenClient[] = [];
  let seen: Request[];
  let answers: Record<string, (request: Request) => Answer>;
  let signedOut: string[];

  beforeEach(() => {
    seen = [];
    answers = {};
    signedOut = [];
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });

  const server = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    seen.push(request);
    return answers[new URL(request.url).pathname]?.(request) ?? Response.json({});
  };
  function create(options: TokenClientOptions = {}): TokenClient {
    const client = createTokenClient({
      baseUrl: API,
      fetch: server,
      onSignedOut: (reason) => signedOut.push(reason),
      ...options,
    });
    clients.push(client);
    return client;
  }
  const shown = () => seen.map(({ headers }) => headers.get('authorization'));
  const refuse =
    (code: string, headers = {}) =>
    () =>
      Response.json({ code }, { status: 401, headers });

  it('goes on after close()', async () => {
    const client = create({ tabs: true });
    client.close();
    client.signIn(token());
    answers['/me'] = () => Response.json({}, { headers: { authorization: `Bearer ${token()}` } });
    expect((await client.fetch('/me')).status).toBe(200);
    client.signOut();
    expect(signedOut).toEqual(['SIGNED_OUT']);
  });

  it.each<[string, unknown]>([
    ['is missing', undefined],
    [
      'is forbidden',
      class {
        constructor() {
          throw new DOMException('The operation is insecure.', 'SecurityError');
        }
      },
    ],
  ])('works where BroadcastChannel %s', async (_, channel) => {
    const { BroadcastChannel } = globalThis;
    globalThis.BroadcastChannel = channel as never;
    try {
      const client = create({ tabs: true });
      client.signIn(token());
      expect((await client.fetch('/me')).status).toBe(200);
    } finally {
      globalThis.BroadcastChannel = BroadcastChannel;
    }
  });

  it('shows the token to no opaque origin', async () => {
    const client = create();
    client.signIn(token());
    for (const url of ['other-scheme://evil/', 'data:text/plain,x']) await client.fetch(url);
    expect(shown()).toEqual([null, null]);
  });

  it('keeps what is for one server from another, though both clients have the same name', async () => {
    const storage = new PageStorage();
    const shared = { storage: () => storage, tabs: true };
    const one = create(shared);
    one.signIn({ access_token: token(), refresh_token: token() });
    const others = [
      create({ ...shared, baseUrl: 'https://other.example' }),
      create({ ...shared, origins: [API, 'https://other.example'] }),
      create({ ...shared, refresh: { url: '/other' } }),
      create({ ...shared, delivery: { cookie: true } }),
    ];
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(others.map((client) => client.claims())).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(create({ ...shared, origins: [API] }).claims()?.sub).toBe('alice');
  });

  it('takes no notice of what is no session, in its storage', async () => {
    const storage = new PageStorage();
    create({ storage: () => storage }).signIn(token());
    const [[key = '', text = '']] = [...storage.items] as [[string, string]];
    const stored = JSON.parse(text);
    for (const change of [
      { turn: -1 },
      { turn: '9' },
      { at: 'x' },
      { access: 5 },
      { access: 'no token' },
      { refresh: {} },
      { out: {} },
      { at: 0, access: undefined },
    ]) {
      storage.setItem(key, JSON.stringify({ ...stored, ...change }));
      const client = create({ storage: () => storage });
      expect([change, client.claims()]).toEqual([change, undefined]);
      client.signIn(token('bob'));
      expect(client.claims()?.sub).toBe('bob');
    }
  });

  it('is not joined with others in Node, though there is a global location', async () => {
    const page = globalThis as { location?: unknown; document?: unknown };
    page.location = { href: 'https://app.example/', origin: 'https://app.example' };
    page.document = { baseURI: 'https://app.example/' };
    try {
      const [one, two] = [create(), create()];
      one.signIn(token());
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(two.claims()).toBeUndefined();
    } finally {
      delete page.location;
      delete page.document;
    }
  });

  it('refreshes at the address that there was at the beginning, whatever <base> says later', async () => {
    const page = globalThis as { location?: unknown; document?: { baseURI: string } };
    page.location = { href: 'https://app.example/shop/' };
    page.document = { baseURI: 'https://app.example/shop/' };
    try {
      const client = create({ baseUrl: undefined });
      client.signIn({ access_token: token(), refresh_token: token() });
      page.document.baseURI = 'https://evil.example/';
      await client.refresh();
      await client.fetch('me');
      expect(seen.map(({ url }) => url)).toEqual([
        'https://app.example/auth/refresh-token',
        'https://evil.example/me',
      ]);
      expect(shown()).toEqual([null, null]);
    } finally {
      delete page.location;
      delete page.document;
    }
  });

  it('sends the CSRF header nowhere that a redirect leads to', async () => {
    const client = create({ csrf: (headers) => headers.set('x-csrf', '1') });
    await client.fetch('/form', { method: 'POST' });
    await client.fetch('/form', { method: 'POST', redirect: 'error' });
    await client.fetch('/page');
    expect(seen.map(({ redirect }) => redirect)).toEqual(['manual', 'error', 'follow']);
    expect(seen.map(({ headers }) => headers.get('x-csrf'))).toEqual(['1', '1', null]);
  });

  it('leaves a credential to its caller where cookies carry tokens', async () => {
    const client = create({
      delivery: { cookie: true },
      csrf: (headers) => headers.set('x-csrf', '1'),
    });
    client.signIn();
    await client.fetch('/me', { headers: { authorization: 'Bearer mine' } });
    answers['/me'] = refuse('TOKEN_MISSING');
    await client.fetch('/me', { credentials: 'omit' });
    await client.fetch(new Request(`${API}/me`, { credentials: 'omit' }));
    expect(seen.map(({ credentials }) => credentials)).toEqual(['same-origin', 'omit', 'omit']);
    expect(shown()).toEqual(['Bearer mine', null, null]);
    expect(signedOut).toEqual([]);
    delete answers['/me'];
    await client.fetch('/me');
    expect(seen.at(-1)?.credentials).toBe('include');
  });

  it.each(['application/x-ndjson', 'application/json-seq', 'text/event-stream'])(
    'hands on at once what may never end: %s',
    async (type) => {
      const endless = new ReadableStream({
        start: (stream) => stream.enqueue(Buffer.from('{}\n')),
      });
      answers['/feed'] = () => new Response(endless, { headers: { 'content-type': type } });
      const client = create({ delivery: { body: 'token' } });
      expect((await client.fetch('/feed')).status).toBe(200);
    },
  );

  it.each(['application/json; charset=utf-8', 'application/hal+json', 'application/problem+json'])(
    'reads %s',
    async (type) => {
      const client = create({ delivery: { body: 'token' } });
      client.signIn(token());
      const body = JSON.stringify({ token: token('alice', { plan: 'premium' }) });
      answers['/me'] = () => new Response(body, { headers: { 'content-type': type } });
      await client.fetch('/me');
      expect(client.claims()?.plan).toBe('premium');
    },
  );

  it('tells of the claims although the listener before has thrown', () => {
    const { error } = console;
    console.error = () => {};
    const told: unknown[] = [];
    const client = create({
      onSignedOut: () => {
        throw new Error('a mistake of the application');
      },
      onClaimsChanged: (claims) => told.push(claims?.sub),
    });
    client.signIn(token());
    client.signOut();
    console.error = error;
    expect(told).toEqual(['alice', undefined]);
  });

  it('does not tell a visitor to log in because refresh() found no cookie', async () => {
    answers['/auth/refresh-token'] = () =>
      Response.json({ code: 'INVALID_REQUEST' }, { status: 400 });
    const client = create({ refresh: { cookie: true } });
    expect(await client.refresh()).toBe(false);
    expect(signedOut).toEqual([]);
    // But that a request of his needs one; and the cookie is not asked for again.
    answers['/me'] = refuse('TOKEN_MISSING');
    await client.fetch('/me');
    await client.fetch('/me');
    expect(signedOut).toEqual(['TOKEN_MISSING']);
    expect(seen.filter(({ url }) => url === REFRESH)).toHaveLength(1);
  });

  it('waits once for a lock that somebody holds for good', async () => {
    const locks = new PageLocks();
    const waits: number[] = [];
    const client = create({
      locks: {
        request: async (name, options, run) => {
          void locks.request(name, {}, () => new Promise(() => {}));
          return locks.request(name, options, run);
        },
      },
      refresh: { cookie: true, timeout: 1_000 },
    });
    answers['/auth/refresh-token'] = () => Response.json({ access_token: token() });
    for (let time = 0; time < 3; time++) {
      const began = performance.now();
      expect(await client.refresh()).toBe(true);
      waits.push(performance.now() - began);
    }
    expect(waits[0]).toBeGreaterThan(900);
    expect(Math.max(...waits.slice(1))).toBeLessThan(700);
  });

  it('says what the token says without deciding anything, and tells it later', async () => {
    const storage = new PageStorage();
    const told: unknown[] = [];
    const client = create({
      storage: () => storage,
      onClaimsChanged: (claims) => told.push(claims?.sub),
    });
    create({ storage: () => storage }).signIn(token());
    expect(client.claims()?.sub).toBe('alice');
    expect(told).toEqual([]);
    await Promise.resolve();
    expect(told).toEqual(['alice']);
    const parse = jest.spyOn(JSON, 'parse');
    for (let time = 0; time < 100; time++) client.claims();
    expect(parse).not.toHaveBeenCalled();
    parse.mockRestore();
  });

  it('does not send a token that it knows to be over', async () => {
    const client = create({ refresh: { ahead: false } });
    client.signIn({ access_token: token(), refresh_token: token(), expires_in: 0.01 });
    answers['/auth/refresh-token'] = () =>
      Response.json({ access_token: token('alice', { plan: 'b' }) });
    await new Promise((resolve) => setTimeout(resolve, 20));
    const statuses = await Promise.all([client.fetch('/me'), client.fetch('/me')]);
    expect(statuses.map(({ status }) => status)).toEqual([200, 200]);
    expect(seen.map(({ url }) => url)).toEqual([REFRESH, `${API}/me`, `${API}/me`]);
    expect(client.claims()?.plan).toBe('b');
  });

  it('sends it all the same where it can get no other', async () => {
    const client = create();
    client.signIn({ access_token: token(), expires_in: 0.001 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    answers['/me'] = refuse('TOKEN_EXPIRED');
    expect((await client.fetch('/me')).status).toBe(401);
    expect(signedOut).toEqual(['TOKEN_EXPIRED']);
  });

  describe('where an exception filter has dropped the code', () => {
    const challenge = (code: string) =>
      `Bearer realm="api", error="invalid_token", error_description="x", code="${code}"`;

    it.each<[string, Record<string, string>, unknown]>([
      ['in the header of its own', { 'jwt-state-error': 'TOKEN_STALE' }, { message: 'no' }],
      ['in the challenge', { 'www-authenticate': challenge('TOKEN_STALE') }, { message: 'no' }],
      [
        'beside a code of the application',
        { 'jwt-state-error': 'TOKEN_STALE' },
        { code: 'E_AUTH' },
      ],
    ])('finds it %s', async (_, headers, body) => {
      const client = create();
      client.signIn({ access_token: token(), refresh_token: token() });
      answers['/auth/refresh-token'] = () => Response.json({ access_token: token() });
      answers['/me'] = () => {
        delete answers['/me'];
        return Response.json(body, { status: 401, headers });
      };
      expect((await client.fetch('/me')).status).toBe(200);
      expect(seen).toHaveLength(3);
    });

    it('finds it in the answer to a HEAD, and to a refresh', async () => {
      const client = create();
      client.signIn({ access_token: token(), refresh_token: token() });
      answers['/auth/refresh-token'] = () =>
        new Response('Bad Request', {
          status: 400,
          headers: { 'jwt-state-error': 'INVALID_GRANT' },
        });
      answers['/me'] = () =>
        new Response(null, {
          status: 401,
          headers: { 'www-authenticate': challenge('TOKEN_EXPIRED') },
        });
      expect((await client.fetch('/me', { method: 'HEAD' })).status).toBe(401);
      expect(signedOut).toEqual(['INVALID_GRANT']);
    });

    it('believes the body first', async () => {
      const client = create();
      client.signIn(token());
      answers['/me'] = refuse('TOKEN_REVOKED', { 'jwt-state-error': 'TOKEN_STALE' });
      await client.fetch('/me');
      expect(signedOut).toEqual(['TOKEN_REVOKED']);
    });
  });

  describe('whose refresh is answered', () => {
    const after = (claims: object) => token('alice', { plan: 'new', ...claims });
    const signedIn = (options: TokenClientOptions = {}) => {
      const client = create({ refresh: { cookie: true, ahead: false }, ...options });
      client.signIn({ access_token: token() });
      return client;
    };

    it.each<[string, () => Response, boolean]>([
      ['with no token', () => Response.json({}), false],
      ['with no content', () => new Response(null, { status: 204 }), false],
      [
        'with a page',
        () => new Response('<h1>', { headers: { 'content-type': 'text/html' } }),
        false,
      ],
      ['with null', () => Response.json(null), false],
      ['with what is no token', () => Response.json({ access_token: 'x' }), false],
      ['in an envelope', () => Response.json({ data: { access_token: after({}) } }), true],
      [
        'in a header',
        () =>
          new Response(null, { status: 204, headers: { authorization: `Bearer ${after({})}` } }),
        true,
      ],
    ])('%s keeps its session', async (_, answer, isNew) => {
      const client = signedIn();
      answers['/auth/refresh-token'] = answer;
      expect(await client.refresh()).toBe(isNew);
      expect(client.claims()?.plan).toBe(isNew ? 'new' : undefined);
      expect(client.claims()?.sub).toBe('alice');
      expect(signedOut).toEqual([]);
    });

    it('with the token of another session loses it', async () => {
      const client = signedIn();
      answers['/auth/refresh-token'] = () => Response.json({ access_token: token('bob') });
      expect(await client.refresh()).toBe(false);
      expect(signedOut).toEqual(['SESSION_REPLACED']);
    });

    it('keeps the refresh token of an envelope', async () => {
      const client = create();
      client.signIn({ access_token: token(), refresh_token: token() });
      const second = token();
      answers['/auth/refresh-token'] = () =>
        Response.json({ data: { access_token: token(), refresh_token: second } });
      await client.refresh();
      await client.refresh();
      expect(await seen.at(-1)?.text()).toContain(second);
    });
  });

  it('refreshes where AbortSignal.timeout is missing', async () => {
    const { timeout } = AbortSignal;
    (AbortSignal as { timeout?: unknown }).timeout = undefined;
    try {
      const client = create({ refresh: { cookie: true, timeout: 100 } });
      answers['/auth/refresh-token'] = () => Response.json({ access_token: token() });
      expect(await client.refresh()).toBe(true);
    } finally {
      AbortSignal.timeout = timeout;
    }
  });
});

describe('A refresh ahead of expiry that fails', () => {
  let times: number[];
  beforeEach(() => {
    jest.useFakeTimers();
    times = [];
  });
  afterEach(() => {
    jest.useRealTimers();
  });
  const failing = (how: () => Promise<boolean>) => {
    const ahead = aheadOfExpiry(() => {
      times.push(Date.now());
      return how();
    });
    ahead.plan({ turn: 1, at: Date.now(), life: 60 });
    return ahead;
  };

  it('is tried again every five minutes at least', async () => {
    failing(async () => true);
    await jest.advanceTimersByTimeAsync(3_600_000);
    const pauses = times.slice(1).map((time, index) => (time - (times[index] as number)) / 1_000);
    expect(pauses.slice(0, 6)).toEqual([30, 60, 120, 240, 300, 300]);
    expect(Math.max(...pauses)).toBe(300);
  });

  it('is tried again when the network is back, and only then', async () => {
    const ahead = failing(async () => true);
    ahead.retry();
    await jest.advanceTimersByTimeAsync(2_000);
    expect(times).toEqual([]);
    await jest.advanceTimersByTimeAsync(58_000);
    expect(times).toHaveLength(1);
    ahead.retry();
    await jest.advanceTimersByTimeAsync(1_000);
    expect(times).toHaveLength(2);
  });

  it('is no unhandled rejection where it throws', async () => {
    failing(() => Promise.reject(new Error('no network')));
    await jest.advanceTimersByTimeAsync(120_000);
    expect(times.length).toBeGreaterThan(1);
  });
});
