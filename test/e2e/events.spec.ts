import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  Injectable,
  type OnModuleDestroy,
  type OnModuleInit,
  Post,
  UseGuards,
} from '@nestjs/common';
import {
  CurrentToken,
  JwtStateGuard,
  type JwtStateOptions,
  Public,
  ReissuesToken,
  TokenEvents,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { forge } from '../support/forge.js';
import {
  claimsOf,
  clock,
  closeApps,
  log,
  MATRIX,
  PLATFORMS,
  type Reply,
  refuseToLeak,
  startApp,
  type TestApp,
  type TestAppSettings,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { EVENT_NAMES, listenTo, type Told } from '../support/told-events.js';
import { Users } from '../support/users.js';

const REFRESH = '/auth/refresh-token';

@Controller()
@UseGuards(JwtStateGuard)
class SessionController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Public()
  @Post('login')
  logIn(@Body() { user }: { user: string }) {
    return this.tokens.issue(user);
  }

  @Post('fail')
  @ReissuesToken()
  fail(@CurrentToken('sub') sub: string) {
    this.users.set(sub, { plan: 'half' });
    throw new Error('after it has changed something');
  }

  @Post('tenant')
  @ReissuesToken({ scope: 'session' })
  async switchTenant(@CurrentToken() token: VerifiedToken, @Body() { tenant }: { tenant: string }) {
    await this.tokens.reissue(token, { tenant });
  }

  @Post('theme')
  async changeTheme(@CurrentToken() token: VerifiedToken) {
    return this.tokens.reissue(token, { theme: 'dark' });
  }

  @Post('others')
  async logOutOthers(@CurrentToken() token: VerifiedToken) {
    await this.tokens.revoke({ sub: token.sub, except: token });
  }
}

/** What all applications have told since the test began. */
let told: Told[];
beforeEach(() => {
  told = [];
});

/** What has been told since this was last asked; none of it holds a token or a secret. */
function news(): Told[] {
  const all = told.splice(0);
  refuseToLeak(JSON.stringify(all), 'an event');
  expect(JSON.stringify(all)).not.toContain('eyJ');
  return all;
}

async function startTelling(settings: TestAppSettings): Promise<TestApp> {
  const app = await startApp({ controllers: [SessionController], ...settings });
  listenTo(app.events, told);
  return app;
}

const idsOf = (token: string | undefined) => {
  const { sub, sid, jti } = claimsOf(token);
  return { sub, sid, jti };
};
const at = () => clock.now();
const sidScope = (token: string) => ({ name: 'sid', value: claimsOf(token).sid });
const alices = { name: 'sub', value: 'alice' };
const marked = (scope: object, pending: boolean) => ['marked-stale', { at: at(), scope, pending }];
const reissued = (from: string, to: string | undefined, why: string) => [
  'reissued',
  { at: at(), ...idsOf(to), predecessor: claimsOf(from).jti, why },
];
const revoked = (scope: object, why: string) => ['revoked', { at: at(), scope, why }];
const used = (token: string, inGrace: boolean) => [
  'superseded-use',
  { at: at(), ...idsOf(token), inGrace },
];

describe.each(MATRIX)('What is told: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  const start = (options: Partial<JwtStateOptions> = {}) =>
    startTelling({ platform, store, options });

  beforeEach(() => {
    store = TestStore.create(kind);
    clock.stop();
  });
  afterEach(closeApps);

  const logIn = async (app: TestApp, user = 'alice') => {
    const token = await app.logIn(user);
    clock.advance('1s');
    told.length = 0;
    return token;
  };
  const logInForPair = async (app: TestApp) => {
    const pair = await app.logInFor('alice');
    clock.advance('1s');
    told.length = 0;
    return pair;
  };
  const exchange = (app: TestApp, refresh_token: string): Promise<Reply> =>
    app.post(REFRESH, undefined, { refresh_token });

  it('a log-in', async () => {
    const app = await start();
    const { access_token } = (await app.post('/login', undefined, { user: 'alice' })).body;
    expect(news()).toStrictEqual([['issued', { at: at(), ...idsOf(access_token) }]]);
  });

  it('a log-in with a refresh token', async () => {
    const app = await start({ refresh: { tokens: {} } });
    const { body } = await app.post('/login', undefined, { user: 'alice' });
    const refreshJti = claimsOf(body.refresh_token).jti;
    expect(news()).toStrictEqual([
      ['issued', { at: at(), ...idsOf(body.access_token), refreshJti }],
    ]);
  });

  it('no request whose token is active, and none that is refused', async () => {
    const app = await start();
    const token = await logIn(app);
    expectNoNewToken(await app.get('/me', token));
    expect((await app.get('/premium', token)).status).toBe(403);
    expectRefusal(await app.get('/me'), 'TOKEN_MISSING');
    expectRefusal(await app.get('/me', 'not-a-token'), 'TOKEN_INVALID');
    clock.advance('1h');
    expectRefusal(await app.get('/me', token), 'TOKEN_EXPIRED');
    expect(news()).toEqual([]);
  });

  it('a change from elsewhere, and the reissue it leads to', async () => {
    const app = await start();
    const token = await logIn(app);
    await app.change('alice', { plan: 'premium' });
    expect(news()).toStrictEqual([marked(alices, false)]);
    clock.advance('1s');
    const successor = expectNewToken(await app.get('/me', token), { plan: 'premium' });
    expect(news()).toStrictEqual([reissued(token, successor, 'stale')]);
  });

  it('a handler that changes the caller’s state: its begin, its end, the new token', async () => {
    const app = await start();
    const token = await logIn(app);
    const successor = expectNewToken(await app.post('/plan', token, { plan: 'premium' }), {});
    expect(news()).toStrictEqual([
      marked(alices, true),
      marked(alices, false),
      reissued(token, successor, 'handler'),
    ]);
  });

  it('a handler that changes its session', async () => {
    const app = await start();
    const token = await logIn(app);
    const successor = expectNewToken(await app.post('/tenant', token, { tenant: 'acme' }), {});
    expect(news()).toStrictEqual([
      marked(sidScope(token), true),
      marked(sidScope(token), false),
      reissued(token, successor, 'handler'),
    ]);
  });

  it('a handler that fails: its deadline stands, and the next request reissues', async () => {
    const app = await start();
    const token = await logIn(app);
    expect((await app.post('/fail', token)).status).toBe(500);
    expect(news()).toStrictEqual([marked(alices, true), marked(alices, true)]);
    const successor = expectNewToken(await app.get('/me', token), { plan: 'half' });
    expect(news()).toStrictEqual([reissued(token, successor, 'stale')]);
  });

  it('tokens.reissue() in a handler of another kind', async () => {
    const app = await start();
    const token = await logIn(app);
    const { access_token } = (await app.post('/theme', token)).body;
    expect(news()).toStrictEqual([reissued(token, access_token, 'request')]);
  });

  it('the refresh route', async () => {
    const app = await start();
    const token = await logIn(app);
    const { access_token } = (await app.post(REFRESH, token)).body;
    expect(news()).toStrictEqual([reissued(token, access_token, 'refresh')]);
  });

  it('the refresh route with a refresh token', async () => {
    const app = await start({ refresh: { tokens: {} } });
    const { refreshToken } = await logInForPair(app);
    const { body } = await exchange(app, refreshToken);
    expect(news()).toStrictEqual([
      [
        'reissued',
        {
          at: at(),
          ...idsOf(body.access_token),
          refreshJti: claimsOf(body.refresh_token).jti,
          predecessor: claimsOf(refreshToken).jti,
          why: 'refresh-token',
        },
      ],
    ]);
  });

  it('a token from before that was traded in', async () => {
    const app = await start({ legacy: 'reissue' });
    const iat = Math.floor(at() / 1000);
    const legacy = forge({
      header: { typ: 'JWT' },
      payload: { sub: 'alice', iat, exp: iat + 600 },
    });
    const successor = expectNewToken(await app.get('/me', legacy), { plan: 'free' });
    expect(news()).toStrictEqual([
      [
        'reissued',
        { at: at(), ...idsOf(successor), predecessor: expect.any(String), why: 'legacy' },
      ],
    ]);
  });

  it.each(['/me', REFRESH])(
    '%s with a token that was replaced: once, in grace and later',
    async (path) => {
      const app = await start();
      const token = await logIn(app);
      await app.post(REFRESH, token);
      told.length = 0;
      const method = path === REFRESH ? 'POST' : 'GET';
      expectNewToken(await app.request(method, path, { token }), {});
      expect(news()).toStrictEqual([used(token, true)]);
      clock.advance('31s');
      expectRefusal(await app.request(method, path, { token }), 'TOKEN_SUPERSEDED');
      expect(news()).toStrictEqual([used(token, false)]);
    },
  );

  it('a @ReissuesToken() handler with a token that was replaced: once', async () => {
    const app = await start();
    const token = await logIn(app);
    const { access_token } = (await app.post(REFRESH, token)).body;
    told.length = 0;
    const successor = expectNewToken(await app.post('/plan', token, { plan: 'premium' }), {});
    expect(news()).toStrictEqual([
      used(token, true),
      marked(alices, true),
      marked(alices, false),
      reissued(access_token, successor, 'handler'),
    ]);
  });

  it('a refresh token that was used twice, and the end of its session', async () => {
    const app = await start({ refresh: { tokens: {} } });
    const { accessToken, refreshToken } = await logInForPair(app);
    const second = (await exchange(app, refreshToken)).body.refresh_token;
    await exchange(app, second);
    told.length = 0;
    clock.advance('31s');
    expect((await exchange(app, refreshToken)).body.code).toBe('INVALID_GRANT');
    const ids = { ...idsOf(accessToken), jti: claimsOf(refreshToken).jti };
    const [use, ...rest] = news();
    expect(use).toStrictEqual(['superseded-use', { at: at(), ...ids, inGrace: false }]);
    expect(rest.sort()).toStrictEqual([
      ['refresh-reuse', { at: at(), ...ids }],
      revoked(sidScope(accessToken), 'refresh-reuse'),
    ]);
  });

  it('a log-out', async () => {
    const app = await start();
    const token = await logIn(app);
    await app.post('/logout', token);
    expect(news()).toStrictEqual([revoked(sidScope(token), 'request')]);
    expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    expect(news()).toEqual([]);
  });

  it('a log-out of all other devices', async () => {
    const app = await start();
    const token = await logIn(app);
    await app.post('/others', token);
    const except = claimsOf(token).sid;
    expect(news()).toStrictEqual([
      ['revoked', { at: at(), scope: alices, except, why: 'request' }],
    ]);
  });

  it('a subject that is gone', async () => {
    const app = await start();
    const token = await logIn(app);
    await app.tokens.markStale({ sub: 'alice' });
    app.users.remove('alice');
    told.length = 0;
    expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    expect(news()).toStrictEqual([revoked(sidScope(token), 'subject-gone')]);
  });

  it('a tenant that was shut, which is left meanwhile: its end, and that of the session', async () => {
    const app = await start({ denyList: { claims: ['tenant'] } });
    const token = await app.logIn('alice', { tenant: 'acme' });
    const hold = app.users.hold();
    const leaving = app.post('/tenant', token, { tenant: 'globex' });
    await hold.asked();
    told.length = 0;
    await app.tokens.revoke({ tenant: 'acme' });
    hold.release();
    expect((await leaving).token).toBeUndefined();
    expect(news()).toStrictEqual([
      revoked({ name: 'tenant', value: 'acme' }, 'request'),
      revoked(sidScope(token), 'left-scope'),
    ]);
  });

  it('20 parallel requests with one stale token in two processes: one reissue', async () => {
    const apps = [await start(), await start()] as const;
    const token = await logIn(apps[0]);
    await apps[0].change('alice', { plan: 'premium' });
    apps[1].users.set('alice', { plan: 'premium' });
    told.length = 0;
    const requests = Array.from({ length: 20 }, (_, n) => apps[n % 2 ? 1 : 0].get('/me', token));
    const replies = await Promise.all(requests);
    const successors = replies.map((reply) => expectNewToken(reply, { plan: 'premium' }));
    expect(new Set(successors.map((each) => claimsOf(each).jti)).size).toBe(1);
    expect(news().filter(([name]) => name === 'reissued')).toStrictEqual([
      reissued(token, successors[0], 'stale'),
    ]);
  });

  it('no change, log-out or reissue that the store has not confirmed', async () => {
    const app = await start();
    const token = await logIn(app);
    await app.change('alice', { plan: 'premium' });
    told.length = 0;
    const failures: ((app: TestApp) => Promise<Reply>)[] = [
      (app) => app.get('/me', token),
      (app) => app.post(REFRESH, token),
      (app) => app.post('/plan', token, { plan: 'free' }),
    ];
    for (const fail of failures) {
      store.fail('write');
      expectRefusal(await fail(app), 'DENY_LIST_UNAVAILABLE');
      store.recover();
    }
    const other = await logIn(app);
    store.fail('write');
    expectRefusal(await app.post('/logout', other), 'DENY_LIST_UNAVAILABLE');
    store.recover();
    expect(news()).toEqual([]);
  });

  it('a store that fails, and answers again', async () => {
    const app = await start();
    const token = await logIn(app);
    store.fail();
    for (let time = 0; time < 2; time++) await app.get('/me', token);
    expect(news()).toEqual([]);
    for (let time = 0; time < 3; time++) {
      expectRefusal(await app.get('/me', token), 'DENY_LIST_UNAVAILABLE');
    }
    expect(news()).toStrictEqual([['store-failed', { at: at(), reason: 'TestDenyListFault' }]]);
    store.recover();
    clock.advance('1s');
    for (let time = 0; time < 2; time++) expectNoNewToken(await app.get('/me', token));
    expect(news()).toStrictEqual([['store-recovered', { at: at() }]]);
  });

  it('a store that has lost its entries', async () => {
    const app = await start();
    const token = await logIn(app);
    await store.wipe();
    expectRefusal(await app.get('/me', token), 'DENY_LIST_LOST');
    expect(news()).toStrictEqual([['store-lost', { at: at(), ...idsOf(token), policy: 'reject' }]]);
  });

  it('a store that has lost its entries, and the reissue that makes it good', async () => {
    const app = await start({ denyList: { onLoss: 'reissue' } });
    const token = await logIn(app);
    await store.wipe();
    const successor = expectNewToken(await app.get('/me', token), {});
    expect(news()).toStrictEqual([
      ['store-lost', { at: at(), ...idsOf(token), policy: 'reissue' }],
      reissued(token, successor, 'loss'),
    ]);
  });
});

interface AuditEntry {
  at: number;
  what: string;
}

class AuditQueue {
  readonly entries: AuditEntry[] = [];
  add = (entry: AuditEntry) => void this.entries.push(entry);
}

/** As in docs/14-events.md. */
@Injectable()
class Audit implements OnModuleInit, OnModuleDestroy {
  private readonly stops: (() => void)[] = [];

  constructor(
    private readonly events: TokenEvents,
    private readonly queue: AuditQueue,
  ) {}

  onModuleInit(): void {
    this.stops.push(
      this.events.on('issued', ({ at, sub, sid }) =>
        this.queue.add({ at, what: 'log-in', sub, sid } as AuditEntry),
      ),
      this.events.on('revoked', ({ at, scope, why }) =>
        this.queue.add({ at, what: why, ...scope } as AuditEntry),
      ),
      this.events.on('refresh-reuse', ({ at, sub, sid }) =>
        this.queue.add({ at, what: 'refresh token used twice', sub, sid } as AuditEntry),
      ),
    );
  }

  onModuleDestroy(): void {
    for (const stop of this.stops) stop();
  }
}

describe.each(PLATFORMS)('Who listens: %s', (platform) => {
  afterEach(closeApps);

  it('a provider, from its begin to its end', async () => {
    const queue = new AuditQueue();
    const app = await startTelling({
      platform,
      providers: [Audit, { provide: AuditQueue, useValue: queue }],
    });
    const token = await app.logIn('alice');
    await app.post('/logout', token);
    const { sub, sid } = claimsOf(token);
    const time = expect.any(Number);
    expect(queue.entries).toEqual([
      { at: time, what: 'log-in', sub, sid },
      { at: time, what: 'request', name: 'sid', value: sid },
    ]);
    const { events } = app;
    await app.close();
    events.emit('issued', { sub, sid, jti: 'T1' });
    expect(queue.entries).toHaveLength(2);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('The audit log is full.');
      },
    ],
    ['rejects', () => Promise.reject(new Error('The audit log is full.'))],
  ])('one that %s fails neither the request nor the others, and is logged', async (_, listener) => {
    const app = await startApp({ platform });
    for (const name of EVENT_NAMES) app.events.on(name, listener);
    const heard = listenTo(app.events);
    const token = await app.logIn('alice');
    await app.change('alice', { plan: 'premium' });
    const successor = expectNewToken(await app.get('/me', token), { plan: 'premium' });
    expectNewToken(await app.post('/plan', successor, { plan: 'free' }), { plan: 'free' });
    expect((await app.post('/logout', successor)).status).toBe(201);
    const names = heard.map(([name]) => name);
    expect(new Set(names)).toEqual(
      new Set(['issued', 'marked-stale', 'reissued', 'superseded-use', 'revoked']),
    );
    const logged = log.lines.filter((line) => line.includes('The audit log is full.'));
    expect(logged.map((line) => /ERROR A listener to (\S+) failed/.exec(line)?.[1])).toEqual(names);
  });

  it('one that never comes to an end holds nobody up', async () => {
    const app = await startApp({ platform });
    app.events.on('reissued', () => new Promise(() => {}));
    const token = await app.logIn('alice');
    await app.change('alice', { plan: 'premium' });
    expectNewToken(await app.get('/me', token), { plan: 'premium' });
  });

  it('diagnostics_channel: the same events, of all applications of the process', async () => {
    const heard: unknown[] = [];
    const listeners = EVENT_NAMES.map((name) => {
      const listener = (event: unknown) => void heard.push([name, event]);
      subscribe(`nestjs-jwt-state:${name}`, listener);
      return () => unsubscribe(`nestjs-jwt-state:${name}`, listener);
    });
    const apps = [await startApp({ platform }), await startApp({ platform })];
    const listened = apps.map((app) => listenTo(app.events));
    for (const app of apps) {
      const token = await app.logIn('alice');
      await app.post('/plan', token, { plan: 'premium' });
      await app.post('/logout', token);
    }
    for (const stop of listeners) stop();
    await apps[0]?.logIn('bob');
    const all = listened.flat().filter(([, event]) => !('sub' in event) || event.sub === 'alice');
    expect(heard).toHaveLength(12);
    expect(new Set(heard)).toEqual(new Set(all));
    refuseToLeak(JSON.stringify(heard), 'an event');
  });
});
