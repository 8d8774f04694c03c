import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { createBoundedStore } from '../../lib/deny-list/create-store.js';
import type { DenyListStore } from '../../lib/deny-list/deny-list.store.js';
import type { JwtStateEventName, JwtStateEvents, ReissueReason } from '../../lib/events/events.js';
import { TokenEvents } from '../../lib/events/token-events.js';
import { assemble } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import { createKeys } from '../../lib/keys/create-keys.js';
import type { ChangeScope } from '../../lib/reissue/commit-protocol.js';
import { runInHandlerScope } from '../../lib/reissue/handler-scope.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { CapturedLog } from '../support/captured-log.js';
import { FakeClock } from '../support/fake-clock.js';
import { forge } from '../support/forge.js';
import { MemoryStore, type Operation } from '../support/memory-store.js';
import { assembled, ending, KEYS } from '../support/setup.js';
import { closeStores, TestStore } from '../support/test-store.js';
import { EVENT_NAMES, EVENTS, listenTo, REASONS, type Told } from '../support/told-events.js';

const GRACE = 30_000;
const CHANNELS = 'nestjs-jwt-state:';

const log = new CapturedLog();
Logger.overrideLogger(log);

const clock = new FakeClock();
const keys = await createKeys(resolveOptions({ keys: KEYS, legacy: 'reissue' }), clock);

let store: MemoryStore;
/** What the claims source answers, and what it does before it answers. */
let truth: Record<string, unknown> | null;
let meanwhile: () => unknown;
/** What every service has told since the test began. */
let told: Told[];

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new MemoryStore(clock);
  truth = { tenant: 'acme' };
  meanwhile = () => {};
  told = [];
  log.clear();
});
afterEach(closeStores);

const claims = async () => {
  const read = truth;
  await meanwhile();
  return read;
};

const OPTIONS: Partial<JwtStateOptions> = {
  claims,
  legacy: 'reissue',
  refresh: { tokens: {}, accessTokens: true },
  denyList: { claims: ['tenant'] },
};

type Service = ReturnType<typeof service>;

/** One process. What it tells is added to {@link told}. */
function service(options: Partial<JwtStateOptions> = {}) {
  const assembly = assembled({ ...OPTIONS, ...options }, { clock, store, keys });
  return withRequests(assembly);
}

function withRequests(assembly: ReturnType<typeof assembled>) {
  const { events, resolver, protocol } = assembly;
  listenTo(events, told);
  return {
    ...assembly,
    /** A request with this token, and what it brings. */
    request: async (token: VerifiedToken) =>
      (await resolver.resolve(token, 'reissue')).issued as IssuedToken,
    /** A `@ReissuesToken()` handler that has got past step 1. */
    begin: async (token: VerifiedToken, scope: ChangeScope = 'subject') =>
      protocol.begin(await resolver.resolve(token, 'leave'), scope),
  };
}

/** What has been told since this was last asked. */
const news = () => told.splice(0);
/** Time passes, and the past is past: what is told from now on is told of what comes now. */
function later(milliseconds = 1_234) {
  clock.advance(milliseconds);
  told.length = 0;
}

const idsOf = ({ sub, sid, jti }: VerifiedToken) => ({ sub, sid, jti });
const refreshOf = (issued: IssuedToken) => issued.refreshToken as string;
const refreshIdsOf = (issued: IssuedToken) => idsOf(issued.refreshClaims as VerifiedToken);
const sidScope = ({ sid }: VerifiedToken) => ({ name: 'sid', value: sid });
const isWrite = ({ verb }: Operation) => verb !== 'read';

/** Made by `@nestjs/jwt`, before there was this module. */
const legacyToken = () =>
  forge({
    header: { typ: 'JWT' },
    key: KEYS.secret,
    payload: { sub: 7, iat: clock.now() / 1000, exp: clock.now() / 1000 + 600 },
  });

/** A session that leaves a tenant, which is revoked while the claims are read. */
async function leave({ tokens, request }: Service): Promise<IssuedToken> {
  const issued = await tokens.issue('alice');
  await tokens.markStale({ sub: 'alice' });
  truth = { tenant: 'globex' };
  meanwhile = async () => {
    meanwhile = () => {};
    await tokens.revoke({ tenant: 'acme' });
  };
  later();
  expect(await ending(request(issued.claims))).toBe('TOKEN_REVOKED');
  return issued;
}

/** A refresh token that is used again, though its successor has been used and its grace is over. */
async function reuse({ tokens }: Service): Promise<IssuedToken> {
  const first = await tokens.issue('alice');
  await tokens.refresh(refreshOf(await tokens.refresh(refreshOf(first))));
  later(GRACE);
  await ending(tokens.refresh(refreshOf(first)));
  return first;
}

// --- by name -----------------------------------------------------------------------------------

describe('issued', () => {
  it('tells of a log-in', async () => {
    const { tokens } = service({ refresh: {} });
    const login = await tokens.begin('alice');
    later();
    const issued = await tokens.issue(login);
    expect(news()).toStrictEqual([['issued', { at: clock.now(), ...idsOf(issued.claims) }]]);
  });

  it('names the refresh token, where there are some', async () => {
    const { tokens } = service();
    const issued = await tokens.issue('alice');
    const refreshJti = issued.refreshClaims?.jti;
    expect(news()).toStrictEqual([
      ['issued', { at: clock.now(), ...idsOf(issued.claims), refreshJti }],
    ]);
  });

  it('tells of no log-in that has only begun, or that fails', async () => {
    const { tokens } = service();
    await tokens.begin('alice');
    expect(await ending(tokens.issue('alice', { note: 'x'.repeat(9_000) }))).toBe(
      'TOKEN_TOO_LARGE',
    );
    truth = null;
    expect(await ending(tokens.issue('alice'))).toBe('SUBJECT_REFUSED');
    meanwhile = () => Promise.reject(new Error('down'));
    expect(await ending(tokens.issue('alice'))).toBe('CLAIMS_UNAVAILABLE');
    store.onOperation = () => 'lost';
    expect(await ending(tokens.issue('alice'))).toBe('DENY_LIST_UNAVAILABLE');
    expect(news()).toEqual([]);
  });
});

describe('reissued', () => {
  interface Reissue {
    readonly predecessor: string;
    readonly issued: IssuedToken;
  }
  const WAYS: [ReissueReason, string, (service: Service) => Promise<Reissue>][] = [
    [
      'stale',
      'a mark',
      async ({ tokens, request }) => {
        const { claims } = await tokens.issue('alice');
        await tokens.markStale({ sub: 'alice' });
        later();
        return { predecessor: claims.jti, issued: await request(claims) };
      },
    ],
    [
      'stale',
      'the deadline of a handler',
      async ({ tokens, request, begin }) => {
        await begin((await tokens.issue('alice')).claims);
        const { claims } = await tokens.issue('alice');
        later(65_000);
        return { predecessor: claims.jti, issued: await request(claims) };
      },
    ],
    [
      'handler',
      'a handler has succeeded',
      async ({ tokens, begin }) => {
        const { claims } = await tokens.issue('alice');
        const commit = await begin(claims);
        await commit.close();
        later();
        return { predecessor: claims.jti, issued: (await commit.replace()) as IssuedToken };
      },
    ],
    [
      'handler',
      'tokens.reissue() in a handler',
      async ({ tokens, begin }) => {
        const { claims } = await tokens.issue('alice');
        const commit = await begin(claims, 'session');
        later();
        await runInHandlerScope(commit.handler, () => tokens.reissue(claims, { theme: 'dark' }));
        expect(news()).toEqual([]);
        await commit.close();
        later();
        return { predecessor: claims.jti, issued: (await commit.replace()) as IssuedToken };
      },
    ],
    [
      'request',
      'tokens.reissue() elsewhere',
      async ({ tokens }) => {
        const { claims } = await tokens.issue('alice');
        later();
        const issued = await tokens.reissue(claims, { theme: 'dark' });
        return { predecessor: claims.jti, issued };
      },
    ],
    [
      'refresh',
      'tokens.refresh() with an access token',
      async ({ tokens }) => {
        const { claims, accessToken } = await tokens.issue('alice');
        later();
        return { predecessor: claims.jti, issued: await tokens.refresh(accessToken) };
      },
    ],
    [
      'refresh-token',
      'tokens.refresh() with a refresh token',
      async ({ tokens }) => {
        const first = await tokens.issue('alice');
        later();
        const issued = await tokens.refresh(refreshOf(first));
        return { predecessor: refreshIdsOf(first).jti, issued };
      },
    ],
    [
      'legacy',
      'a token from before',
      async ({ tokens, request }) => {
        const claims = await tokens.verify(legacyToken());
        later();
        return { predecessor: claims.jti, issued: await request(claims) };
      },
    ],
  ];

  it.each(WAYS)('why %s: %s', async (why, _, way) => {
    const { predecessor, issued } = await way(service());
    const refreshJti = issued.refreshClaims?.jti;
    expect(news()).toStrictEqual([
      [
        'reissued',
        {
          at: clock.now(),
          ...idsOf(issued.claims),
          ...(why === 'refresh-token' && { refreshJti }),
          predecessor,
          why,
        },
      ],
    ]);
  });

  it('why loss: the store had lost its entries, which is told first', async () => {
    const { tokens, request } = service({ denyList: { onLoss: 'reissue' } });
    const { claims } = await tokens.issue('alice');
    store.clear();
    later();
    const issued = await request(claims);
    const at = clock.now();
    expect(news()).toStrictEqual([
      ['store-lost', { at, ...idsOf(claims), policy: 'reissue' }],
      ['reissued', { at, ...idsOf(issued.claims), predecessor: claims.jti, why: 'loss' }],
    ]);
  });

  describe('of a repeated exchange, which brings the refresh token that is there already', () => {
    async function repeated() {
      const { tokens } = service();
      const first = await tokens.issue('alice');
      const second = await tokens.refresh(refreshOf(first));
      later();
      const again = await tokens.refresh(refreshOf(first));
      const [use, reissue] = news();
      return { first, second, again, use, reissue: reissue?.[1] as JwtStateEvents['reissued'] };
    }

    it('names that one, and the new access token', async () => {
      const { first, second, again, use, reissue } = await repeated();
      const at = clock.now();
      expect(use).toStrictEqual(['superseded-use', { at, ...refreshIdsOf(first), inGrace: true }]);
      expect(reissue).toStrictEqual({
        at,
        ...idsOf(again.claims),
        refreshJti: refreshIdsOf(second).jti,
        predecessor: expect.any(String),
        why: 'refresh-token',
      });
    });

    it('names as predecessor the one that was presented', async () => {
      const { first, reissue } = await repeated();
      expect(reissue.predecessor).toBe(refreshIdsOf(first).jti);
    });
  });

  it('names the token that was replaced, not the one that led to it', async () => {
    const { tokens, request } = service();
    const first = await tokens.issue('alice');
    const second = await tokens.reissue(first.claims);
    await tokens.markStale({ sub: 'alice' });
    later();
    const { claims } = await request(first.claims);
    expect(news()).toStrictEqual([
      ['superseded-use', { at: clock.now(), ...idsOf(first.claims), inGrace: true }],
      [
        'reissued',
        { at: clock.now(), ...idsOf(claims), predecessor: second.claims.jti, why: 'stale' },
      ],
    ]);
  });
});

describe('superseded-use', () => {
  it('is not told of a refresh token that was used once, though its exchange begin anew', async () => {
    const { tokens } = service({
      claims: (_, previous) => ({ tenant: previous?.tenant ?? 'acme' }),
    });
    const first = await tokens.issue('alice');
    store.onOperation = async ({ verb, key }) => {
      if (verb !== 'writeIfAbsent' || !key.includes(':next:')) return undefined;
      store.onOperation = () => undefined;
      await tokens.reissue(first.claims, { tenant: 'globex' });
      return undefined;
    };
    const second = await tokens.refresh(first.refreshToken as string);
    expect(second.claims.tenant).toBe('globex');
    expect(told.map(([name]) => name)).not.toContain('superseded-use');
  });

  async function superseded() {
    const { tokens, request } = service();
    const { claims, accessToken } = await tokens.issue('alice');
    await tokens.reissue(claims);
    const told = (inGrace: boolean) => [
      ['superseded-use', { at: clock.now(), ...idsOf(claims), inGrace }],
    ];
    const USES = {
      'a request': () => request(claims),
      'tokens.verify()': () => tokens.verify(accessToken),
      'tokens.refresh()': () => tokens.refresh(accessToken),
    };
    return { USES, told };
  }

  describe.each(['a request', 'tokens.verify()', 'tokens.refresh()'] as const)(
    '%s with a token that was replaced',
    (use) => {
      it('in its grace period: inGrace, and it is answered for', async () => {
        const { USES, told } = await superseded();
        for (let time = 0; time < 2; time++) {
          later(GRACE / 2 - 1);
          expect(await ending(USES[use]())).toBe('ok');
          expect(news()).toStrictEqual(told(true));
        }
      });

      it('later: not inGrace, and it is refused', async () => {
        const { USES, told } = await superseded();
        later(GRACE);
        expect(await ending(USES[use]())).toBe('TOKEN_SUPERSEDED');
        expect(news()).toStrictEqual(told(false));
      });
    },
  );

  it('of a refresh token whose successor nobody has used: not inGrace, and not refused', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    await tokens.refresh(refreshOf(first));
    later(GRACE);
    expect(await ending(tokens.refresh(refreshOf(first)))).toBe('ok');
    expect(news()).toStrictEqual([
      ['superseded-use', { at: clock.now(), ...refreshIdsOf(first), inGrace: false }],
      ['reissued', expect.objectContaining({ why: 'refresh-token' })],
    ]);
  });

  it('is not told of a session that was revoked', async () => {
    const { tokens } = service();
    const { claims, accessToken } = await tokens.issue('alice');
    await tokens.reissue(claims);
    await tokens.revoke(claims);
    later();
    expect(await ending(tokens.verify(accessToken))).toBe('TOKEN_REVOKED');
    expect(news()).toEqual([]);
  });
});

describe('refresh-reuse', () => {
  it('names the token that was used again; its session is revoked', async () => {
    const first = await reuse(service());
    const at = clock.now();
    const ids = refreshIdsOf(first);
    const [use, ...rest] = news();
    expect(use).toStrictEqual(['superseded-use', { at, ...ids, inGrace: false }]);
    expect(rest.sort()).toStrictEqual([
      ['refresh-reuse', { at, ...ids }],
      ['revoked', { at, scope: sidScope(first.claims), why: 'refresh-reuse' }],
    ]);
  });

  it('is followed by revoked', async () => {
    await reuse(service());
    expect(news().map(([name]) => name)).toEqual(['superseded-use', 'refresh-reuse', 'revoked']);
  });

  it('is told once: then the session is revoked', async () => {
    const own = service();
    const first = await reuse(own);
    later();
    expect(await ending(own.tokens.refresh(refreshOf(first)))).toBe('INVALID_GRANT');
    expect(news()).toEqual([]);
  });
});

describe('revoked', () => {
  type Target = (tokens: Service['tokens'], issued: IssuedToken) => Promise<unknown>;
  const session = ({ claims }: IssuedToken) => ({ scope: sidScope(claims) });

  const TARGETS: [string, Target, (issued: IssuedToken) => object][] = [
    ['a token', (tokens, { claims }) => tokens.revoke(claims), session],
    [
      'the text of one',
      (tokens, { accessToken }) => tokens.revoke({ token: accessToken }),
      session,
    ],
    [
      'that of an expired one',
      (tokens, { accessToken }) => {
        later(3_600_000);
        return tokens.revoke({ token: accessToken });
      },
      session,
    ],
    [
      'that of a refresh token',
      (tokens, issued) => tokens.revoke({ token: refreshOf(issued) }),
      session,
    ],
    ['{ sid }', (tokens, { claims: { sid } }) => tokens.revoke({ sid }), session],
    [
      '{ sub }',
      (tokens) => tokens.revoke({ sub: 'alice' }),
      () => ({ scope: { name: 'sub', value: 'alice' } }),
    ],
    [
      '{ sub }, a number',
      (tokens) => tokens.revoke({ sub: 7 }),
      () => ({ scope: { name: 'sub', value: '7' } }),
    ],
    [
      '{ sub, except }',
      (tokens, { claims }) => tokens.revoke({ sub: 'alice', except: claims }),
      ({ claims }) => ({ scope: { name: 'sub', value: 'alice' }, except: claims.sid }),
    ],
    [
      '{ sub, except }, of a session that is revoked: nothing stays',
      async (tokens, { claims }) => {
        await tokens.revoke(claims);
        later();
        await tokens.revoke({ sub: 'alice', except: claims });
      },
      () => ({ scope: { name: 'sub', value: 'alice' } }),
    ],
    [
      '{ tenant }',
      (tokens) => tokens.revoke({ tenant: 'acme' }),
      () => ({ scope: { name: 'tenant', value: 'acme' } }),
    ],
    [
      '{ tenant }, a number',
      (tokens) => tokens.revoke({ tenant: 5 }),
      () => ({ scope: { name: 'tenant', value: '5' } }),
    ],
  ];

  it.each(TARGETS)('why request: %s', async (_, revoke, expected) => {
    const { tokens } = service();
    const issued = await tokens.issue('alice');
    later();
    await revoke(tokens, issued);
    expect(news()).toStrictEqual([
      ['revoked', { at: clock.now(), ...expected(issued), why: 'request' }],
    ]);
  });

  it.each(TARGETS)('is not told where the store does not confirm: %s', async (_, revoke) => {
    const { tokens } = service();
    for (const fault of ['lost', 'unconfirmed'] as const) {
      const issued = await tokens.issue('alice');
      later();
      store.onOperation = (operation) => (isWrite(operation) ? fault : undefined);
      expect(await ending(revoke(tokens, issued))).toBe('DENY_LIST_UNAVAILABLE');
      expect(news()).toEqual([]);
      store.onOperation = () => undefined;
      clock.advance(1_000);
    }
  });

  describe('why subject-gone: the claims source says null', () => {
    const ENCOUNTERS: [string, (service: Service, issued: IssuedToken) => Promise<unknown>][] = [
      ['at a request', ({ request }, { claims }) => request(claims)],
      [
        'at a request whose handler would reissue',
        ({ resolver }, { claims }) => resolver.resolve(claims, 'leave'),
      ],
      ['at tokens.reissue()', ({ tokens }, { claims }) => tokens.reissue(claims)],
      ['at a refresh', ({ tokens }, { accessToken }) => tokens.refresh(accessToken)],
      [
        'at a refresh with a refresh token',
        ({ tokens }, issued) => tokens.refresh(refreshOf(issued)),
      ],
    ];

    async function gone() {
      const own = service();
      const issued = await own.tokens.issue('alice');
      await own.tokens.markStale({ sub: 'alice' });
      truth = null;
      later();
      return { own, issued };
    }

    it.each(ENCOUNTERS)('%s', async (_, encounter) => {
      const { own, issued } = await gone();
      expect(await ending(encounter(own, issued))).toMatch(/^(TOKEN_REVOKED|INVALID_GRANT)$/);
      const scope = sidScope(issued.claims);
      expect(news()).toStrictEqual([['revoked', { at: clock.now(), scope, why: 'subject-gone' }]]);
      await ending(encounter(own, issued));
      expect(news()).toEqual([]);
    });

    it.each(ENCOUNTERS)('is not told where that cannot be written: %s', async (_, encounter) => {
      const { own, issued } = await gone();
      store.onOperation = (operation) => (isWrite(operation) ? 'lost' : undefined);
      await ending(encounter(own, issued));
      expect(news()).toEqual([]);
    });
  });

  it('why left-scope: a session left a tenant that was revoked meanwhile', async () => {
    const { claims } = await leave(service());
    const at = clock.now();
    expect(news()).toStrictEqual([
      ['revoked', { at, scope: { name: 'tenant', value: 'acme' }, why: 'request' }],
      ['revoked', { at, scope: sidScope(claims), why: 'left-scope' }],
    ]);
  });

  it('is not told of such a session where that cannot be written', async () => {
    store.onOperation = ({ key }) => (/:sid:/.test(key) ? 'lost' : undefined);
    await leave(service());
    expect(news()).toEqual([['revoked', expect.objectContaining({ why: 'request' })]]);
  });

  it('is not told of reuse where the store does not confirm it; the next attempt tells', async () => {
    const own = service();
    store.onOperation = ({ verb }) => (verb === 'write' ? 'lost' : undefined);
    const first = await reuse(own);
    expect(news().filter(([name]) => name === 'revoked')).toEqual([]);
    store.onOperation = () => undefined;
    expect(await ending(own.tokens.refresh(refreshOf(first)))).toBe('INVALID_GRANT');
    expect(news().filter(([name]) => name === 'revoked')).toHaveLength(1);
  });
});

describe('marked-stale', () => {
  const marked = (name: string, value: string, pending: boolean) => [
    'marked-stale',
    { at: clock.now(), scope: { name, value }, pending },
  ];

  it.each([
    [{ sub: 'alice' }, 'sub', 'alice'],
    [{ sub: 7 }, 'sub', '7'],
    [{ sid: 'S1' }, 'sid', 'S1'],
    [{ tenant: 'acme' }, 'tenant', 'acme'],
  ])('of tokens.markStale(%j) is not pending', async (target, name, value) => {
    const { tokens } = service();
    for (let time = 0; time < 2; time++) {
      later();
      await tokens.markStale(target);
      expect(news()).toStrictEqual([marked(name, value, false)]);
    }
  });

  it.each(['subject', 'session'] as const)(
    'is pending when a handler of the %s begins, and not when it has succeeded',
    async (scope) => {
      const { tokens, begin } = service();
      const { claims } = await tokens.issue('alice');
      const expected = (pending: boolean) =>
        scope === 'session' ? marked('sid', claims.sid, pending) : marked('sub', 'alice', pending);
      later();
      const commit = await begin(claims, scope);
      expect(news()).toStrictEqual([expected(true)]);
      later();
      await commit.close();
      expect(news()).toStrictEqual([expected(false)]);
    },
  );

  it('is pending still when the handler has failed: its deadline stands', async () => {
    const { tokens, begin } = service();
    const commit = await begin((await tokens.issue('alice')).claims);
    later();
    await commit.abandon();
    expect(news()).toStrictEqual([marked('sub', 'alice', true)]);
  });

  it('is not told where the store does not confirm', async () => {
    const { tokens, begin } = service();
    const { claims } = await tokens.issue('alice');
    const commit = await begin(claims);
    for (const fault of ['lost', 'unconfirmed'] as const) {
      for (const attempt of [
        () => tokens.markStale({ sub: 'alice' }),
        () => begin(claims),
        () => commit.close(),
        () => commit.abandon(),
      ]) {
        later();
        store.onOperation = (operation) => (isWrite(operation) ? fault : undefined);
        expect(await ending(attempt())).toBe('DENY_LIST_UNAVAILABLE');
        expect(news()).toEqual([]);
        store.onOperation = () => undefined;
        clock.advance(1_000);
      }
    }
  });
});

describe('the events of the store', () => {
  const names = () => news().map(([name]) => name);
  const reading = (of: DenyListStore) => ending((async () => of.read(['a']))());

  /** The store of a module, over a cache that fails with what a test gives. */
  function failing(lookupTimeout = '1s') {
    const map = new Map<string, unknown>();
    const trouble: { cause: unknown } = { cause: undefined };
    const adapter = {
      opts: {},
      get: async (key: string) => {
        if (trouble.cause === 'silence') await new Promise(() => {});
        if (trouble.cause !== undefined) throw trouble.cause;
        return map.get(key);
      },
      set: async (key: string, value: unknown) => void map.set(key, value),
      delete: async (key: string) => map.delete(key),
      clear: async () => map.clear(),
      on: () => ({}),
    };
    const keyv = new Keyv({ store: adapter as never });
    const config = resolveOptions(
      { keys: KEYS },
      {
        denyList: { cache: createCache({ stores: [keyv] }), lookupTimeout: lookupTimeout as '1s' },
      },
    );
    const events = new TokenEvents(clock);
    told = listenTo(events);
    return { keyv, trouble, store: createBoundedStore(config, clock, events) };
  }

  it('store-failed after three failures in a row, once, and store-recovered at the next answer', async () => {
    const { store, trouble } = failing();
    trouble.cause = new Error('down');
    for (let time = 0; time < 2; time++) await reading(store);
    expect(news()).toEqual([]);
    clock.advance(500);
    await reading(store);
    expect(news()).toStrictEqual([['store-failed', { at: clock.now(), reason: 'Error' }]]);
    for (let time = 0; time < 5; time++) {
      clock.advance(1_000);
      expect(await reading(store)).toBe('DENY_LIST_UNAVAILABLE');
    }
    expect(news()).toEqual([]);
    trouble.cause = undefined;
    clock.advance(1_000);
    for (let time = 0; time < 2; time++) expect(await reading(store)).toBe('ok');
    expect(news()).toStrictEqual([['store-recovered', { at: clock.now() }]]);
  });

  it('neither where an answer lies between the failures', async () => {
    const { store, trouble } = failing();
    for (const cause of ['down', 'down', undefined, 'down', 'down', undefined]) {
      trouble.cause = cause && new Error(cause);
      await reading(store);
    }
    expect(news()).toEqual([]);
  });

  it('store-failed again at the next outage', async () => {
    const { store, trouble } = failing();
    for (let outage = 0; outage < 2; outage++) {
      trouble.cause = new Error('down');
      for (let time = 0; time < 3; time++) await reading(store);
      trouble.cause = undefined;
      clock.advance(1_000);
      await reading(store);
      expect(names()).toEqual(['store-failed', 'store-recovered']);
    }
  });

  it('store-failed at every call that the store refuses, which is no outage', async () => {
    const { store, keyv } = failing();
    await keyv.set('a', 42);
    for (let time = 0; time < 2; time++) {
      clock.advance(1_000);
      expect(await reading(store)).toBe('DENY_LIST_UNAVAILABLE');
      expect(news()).toStrictEqual([
        ['store-failed', { at: clock.now(), reason: 'StoreAnswerError' }],
      ]);
    }
    await keyv.delete('a');
    expect(await reading(store)).toBe('ok');
    expect(news()).toEqual([]);
  });

  const secretUrl = 'redis://user:p4ssw0rd-of-the-store@10.0.0.7';
  it.each([
    ['the code', Object.assign(new Error(secretUrl), { code: 'ECONNREFUSED' }), 'ECONNREFUSED'],
    ['the class where there is none', new TypeError(secretUrl), 'TypeError'],
    [
      'the class where the code is no text',
      Object.assign(new Error(secretUrl), { code: 5 }),
      'Error',
    ],
    ['a word, where the deadline has passed', 'silence', expect.stringMatching(/^\w+$/)],
  ])('store-failed does not quote the error: its reason is %s', async (_, cause, reason) => {
    const { store, trouble } = failing('5ms' as '1s');
    trouble.cause = cause;
    for (let time = 0; time < 3; time++) await reading(store);
    expect(news()).toStrictEqual([['store-failed', { at: clock.now(), reason }]]);
    expect(log.text).not.toContain('p4ssw0rd');
  });

  it.each(['reject', 'reissue'] as const)(
    'store-lost, for each token that names another epoch, onLoss: %s',
    async (policy) => {
      const { tokens } = service({ denyList: { onLoss: policy } });
      const before = [await tokens.issue('alice'), await tokens.issue('bob')];
      store.clear();
      await tokens.issue('carol');
      for (const { claims, accessToken } of before) {
        later();
        expect(await ending(tokens.verify(accessToken))).toBe(
          policy === 'reject' ? 'DENY_LIST_LOST' : 'TOKEN_STALE',
        );
        expect(news()).toStrictEqual([
          ['store-lost', { at: clock.now(), ...idsOf(claims), policy }],
        ]);
      }
    },
  );

  it('no store-lost where onLoss is “accept”', async () => {
    const { tokens } = service({ denyList: { onLoss: 'accept' } });
    const { accessToken } = await tokens.issue('alice');
    store.clear();
    later();
    expect(await ending(tokens.verify(accessToken))).toBe('ok');
    expect(news()).toEqual([]);
  });

  it('no store-lost where the second look finds what the first did not', async () => {
    const { tokens } = service();
    const { accessToken } = await tokens.issue('alice');
    const entries = new Map(store.entries);
    store.clear();
    later();
    const reads = store.operations.length;
    store.onOperation = ({ n }) => {
      if (n > reads + 1) for (const [key, entry] of entries) store.entries.set(key, entry);
      return undefined;
    };
    expect(await ending(tokens.verify(accessToken))).toBe('ok');
    expect(news()).toEqual([]);
  });
});

// --- what did not happen -----------------------------------------------------------------------

describe('nothing is told', () => {
  it('of a token that is active', async () => {
    const { tokens, request } = service();
    const { claims, accessToken } = await tokens.issue('alice');
    later();
    await tokens.verify(accessToken);
    await request(claims);
    expect(news()).toEqual([]);
  });

  it('of requests that were refused: a token that is none, an expired one, a revoked one, a stale one', async () => {
    const { tokens } = service();
    const refused = [await tokens.issue('alice'), await tokens.issue('bob')] as const;
    await tokens.revoke({ sub: 'alice' });
    await tokens.markStale({ sub: 'bob' });
    const expired = await tokens.issue('carol');
    later();
    expect(await ending(tokens.verify('not a token'))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.verify(refused[0].accessToken))).toBe('TOKEN_REVOKED');
    expect(await ending(tokens.verify(refused[1].accessToken))).toBe('TOKEN_STALE');
    expect(await ending(tokens.refresh('not a token'))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.refresh(refreshOf(refused[0])))).toBe('INVALID_GRANT');
    clock.advance(3_600_000);
    expect(await ending(tokens.verify(expired.accessToken))).toBe('TOKEN_EXPIRED');
    expect(news()).toEqual([]);
  });

  const ATTEMPTS: [string, (service: Service, issued: IssuedToken) => Promise<unknown>][] = [
    ['a stale token', ({ request }, { claims }) => request(claims)],
    ['tokens.reissue()', ({ tokens }, { claims }) => tokens.reissue(claims, { theme: 'dark' })],
    ['a refresh', ({ tokens }, { accessToken }) => tokens.refresh(accessToken)],
    ['a refresh token', ({ tokens }, issued) => tokens.refresh(refreshOf(issued))],
  ];

  it.each(ATTEMPTS)('of a reissue that the store does not confirm: %s', async (_, attempt) => {
    for (const fault of ['lost', 'unconfirmed', 'late'] as const) {
      const own = service();
      const issued = await own.tokens.issue('alice');
      await own.tokens.markStale({ sub: 'alice' });
      later();
      store.onOperation = (operation) => (isWrite(operation) ? fault : undefined);
      expect(await ending(attempt(own, issued))).toBe('DENY_LIST_UNAVAILABLE');
      expect(news()).toEqual([]);
      store.onOperation = () => undefined;
    }
  });

  it.each(ATTEMPTS)('of a reissue without claims: %s', async (_, attempt) => {
    const own = service();
    const issued = await own.tokens.issue('alice');
    await own.tokens.markStale({ sub: 'alice' });
    meanwhile = () => Promise.reject(new Error('down'));
    later();
    expect(await ending(attempt(own, issued))).toBe('CLAIMS_UNAVAILABLE');
    expect(news()).toEqual([]);
  });

  it('of the requests that share a reissue: 20 with one stale token, one reissued', async () => {
    const { tokens, request } = service();
    const { claims } = await tokens.issue('alice');
    await tokens.markStale({ sub: 'alice' });
    later();
    const issued = await Promise.all(Array.from({ length: 20 }, () => request(claims)));
    expect(new Set(issued.map((each) => each.claims.jti)).size).toBe(1);
    const [first] = issued as [IssuedToken];
    expect(news()).toStrictEqual([
      [
        'reissued',
        { at: clock.now(), ...idsOf(first.claims), predecessor: claims.jti, why: 'stale' },
      ],
    ]);
  });

  it('by the process that has lost the race', async () => {
    const processes = [service(), service(), service()];
    const { claims } = await (processes[0] as Service).tokens.issue('alice');
    await (processes[0] as Service).tokens.markStale({ sub: 'alice' });
    let asked = 0;
    let release = () => {};
    const all = new Promise<void>((resolve) => {
      release = resolve;
    });
    meanwhile = () => {
      asked += 1;
      if (asked === processes.length) release();
      return all;
    };
    later();
    const issued = await Promise.all(processes.map(({ request }) => request(claims)));
    expect(new Set(issued.map((each) => each.claims.jti)).size).toBe(1);
    expect(news()).toEqual([
      ['reissued', expect.objectContaining({ jti: issued[0]?.claims.jti, why: 'stale' })],
    ]);
  });
});

// --- listening ---------------------------------------------------------------------------------

describe('a listener', () => {
  /** A service that nobody listens to yet. */
  const quiet = () => assembled(OPTIONS, { clock, store, keys });

  it('hears of one kind of event until it is ended', async () => {
    const { tokens, events } = quiet();
    const heard: unknown[] = [];
    const stop = events.on('issued', ({ sub }) => void heard.push(sub));
    await tokens.issue('alice');
    await tokens.revoke({ sub: 'alice' });
    stop();
    stop();
    await tokens.issue('bob');
    expect(heard).toEqual(['alice']);
  });

  it('is ended without the others', async () => {
    const { tokens, events } = quiet();
    const heard: string[] = [];
    const stop = events.on('issued', () => void heard.push('first'));
    events.on('issued', () => void heard.push('second'));
    stop();
    await tokens.issue('alice');
    expect(heard).toEqual(['second']);
  });

  it('may end itself', async () => {
    const { tokens, events } = quiet();
    const heard: string[] = [];
    const stop = events.on('issued', () => {
      heard.push('once');
      stop();
    });
    events.on('issued', () => void heard.push('always'));
    await tokens.issue('alice');
    await tokens.issue('alice');
    expect(heard).toEqual(['once', 'always', 'always']);
  });

  it('is called one after the other, and not waited for', async () => {
    const { tokens, events } = quiet();
    const heard: string[] = [];
    events.on('issued', async () => {
      heard.push('first');
      await new Promise(() => {});
    });
    events.on('issued', () => void heard.push('second'));
    const issued = tokens.issue('alice').then(() => heard.push('issued'));
    await issued;
    expect(heard).toEqual(['first', 'second', 'issued']);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('The audit log is full.');
      },
    ],
    ['rejects', () => Promise.reject(new Error('The audit log is full.'))],
    ['throws what is no error', () => Promise.reject('The audit log is full.')],
  ])('that %s is logged, and goes no further', async (_, fail) => {
    const { tokens, events } = quiet();
    const heard: string[] = [];
    events.on('issued', () => void heard.push('before'));
    events.on('issued', fail);
    events.on('issued', () => void heard.push('after'));
    const { accessToken, refreshToken = '' } = await tokens.issue('alice');
    await turn();
    expect(heard).toEqual(['before', 'after']);
    expect(log.text).toMatch(/ERROR A listener to issued failed/);
    expect(log.text).toContain('The audit log is full.');
    for (const token of [accessToken, refreshToken]) expect(log.text).not.toContain(token);
  });

  it('can change nothing of an event', async () => {
    const { tokens, events } = quiet();
    const subjects: string[] = [];
    events.on('revoked', (event) => {
      expect(Object.isFrozen(event)).toBe(true);
      (event as { why: string }).why = 'forged';
    });
    events.on('revoked', ({ why }) => void subjects.push(why));
    await tokens.revoke({ sub: 'alice' });
    await turn();
    expect(subjects).toEqual(['request']);
    expect(log.text).toMatch(/A listener to revoked failed.*TypeError/s);
  });
});

describe('diagnostics_channel', () => {
  const heard: unknown[] = [];
  const subscriptions: [string, (event: unknown, name: string | symbol) => void][] = [];
  function listen(name: JwtStateEventName) {
    const listener = (event: unknown, channel: string | symbol) =>
      void heard.push([channel, event]);
    subscribe(CHANNELS + name, listener);
    subscriptions.push([CHANNELS + name, listener]);
  }

  afterEach(() => {
    for (const [name, listener] of subscriptions.splice(0)) unsubscribe(name, listener);
    heard.length = 0;
  });

  it('has every event that listeners have: the same object, frozen', async () => {
    for (const name of EVENT_NAMES) listen(name);
    const own = await whole();
    await live(own);
    expect(heard).toHaveLength(own.everything.length);
    for (const [n, [name, event]] of own.everything.entries()) {
      const [channel, published] = heard[n] as [string, object];
      expect(channel).toBe(CHANNELS + name);
      expect(published).toBe(event);
      expect(Object.isFrozen(published)).toBe(true);
    }
  });

  it('has them without listeners, too', async () => {
    listen('issued');
    const { tokens } = assembled(OPTIONS, { clock, store, keys });
    const { claims, refreshClaims } = await tokens.issue('alice');
    const event = { at: clock.now(), ...idsOf(claims), refreshJti: refreshClaims?.jti };
    expect(heard).toStrictEqual([[`${CHANNELS}issued`, event]]);
  });

  it('has them though a listener fails', async () => {
    listen('issued');
    const { tokens, events } = assembled(OPTIONS, { clock, store, keys });
    events.on('issued', () => {
      throw new Error('no');
    });
    await tokens.issue('alice');
    expect(heard).toHaveLength(1);
  });
});

// --- all of them together ----------------------------------------------------------------------

/** A service as the module wires it, store included; everything that it signs is kept in mind. */
async function whole() {
  const cache = TestStore.create('memory');
  const denyList = { ...(await cache.connect()), claims: ['tenant'], onLoss: 'reissue' } as const;
  const { legacy, refresh } = OPTIONS;
  const config = resolveOptions({ keys: KEYS, claims, legacy }, { refresh, denyList });
  const events = new TokenEvents(clock);
  const parts = { keys, store: createBoundedStore(config, clock, events), clock, events };
  const assembly = assemble({ config, ...parts });
  const secrets = new Set<string>();
  const { sign } = assembly.mint;
  assembly.mint.sign = (...tokens) => {
    const issued = sign.apply(assembly.mint, tokens);
    for (const token of [issued.accessToken, issued.refreshToken]) if (token) secrets.add(token);
    return issued;
  };
  return {
    ...withRequests(assembly),
    /** Another service beside it, without refresh tokens. */
    plain: assemble({ config: resolveOptions({ keys: KEYS, claims }, { denyList }), ...parts }),
    cache,
    secrets,
    everything: listenTo(events),
  };
}

/** A long life, in which everything happens that there is an event for. */
async function live(own: Awaited<ReturnType<typeof whole>>): Promise<void> {
  const { tokens, plain, request, begin, cache, secrets } = own;
  const answered = (attempt: unknown) => ending(attempt).catch((error) => String(error));

  // Log-ins, a change from elsewhere, a handler that succeeds, one that fails.
  await plain.tokens.issue('erin');
  const alice = await tokens.issue('alice');
  await tokens.markStale({ sub: 'alice' });
  const second = await request(alice.claims);
  const commit = await begin(second.claims);
  await runInHandlerScope(commit.handler, () => tokens.reissue(second.claims, { theme: 'dark' }));
  await commit.close();
  const third = (await commit.replace()) as IssuedToken;
  await (await begin(third.claims, 'session')).abandon();
  const fourth = await tokens.reissue(third.claims, { theme: 'light' });
  await tokens.refresh(fourth.accessToken);
  await request(alice.claims);
  clock.advance(GRACE);
  await answered(request(alice.claims));

  // A token from before.
  const old = legacyToken();
  secrets.add(old);
  await request(await tokens.verify(old));

  // Refresh tokens: used, repeated, used twice.
  const first = await tokens.issue('bob');
  const next = await tokens.refresh(refreshOf(first));
  await tokens.refresh(refreshOf(first));
  await tokens.refresh(refreshOf(next));
  clock.advance(GRACE);
  await answered(tokens.refresh(refreshOf(first)));

  // Every end of a session.
  await tokens.revoke({ token: alice.accessToken });
  await tokens.revoke({ sub: 'alice' });
  const carol = await tokens.issue('carol');
  await tokens.revoke({ sub: 'carol', except: carol.claims });
  truth = null;
  await answered(tokens.refresh(carol.accessToken));
  truth = { tenant: 'acme' };
  await leave(own);

  // The store goes, comes back, refuses, and has lost everything.
  const dave = await tokens.issue('dave');
  cache.fail();
  for (let time = 0; time < 4; time++) await answered(tokens.revoke({ token: dave.accessToken }));
  cache.recover();
  clock.advance(1_000);
  await request(dave.claims).catch(() => {});
  await cache.wipe();
  await request(dave.claims);
}

describe('the events of a long life', () => {
  const story = async () => {
    const own = await whole();
    await live(own);
    return { ...own, all: own.everything };
  };

  it('are of every kind, with every reason', async () => {
    const { all } = await story();
    expect(new Set(all.map(([name]) => name))).toEqual(new Set(EVENT_NAMES));
    for (const name of ['reissued', 'revoked'] as const) {
      const why = all.filter(([of]) => of === name).map(([, event]) => (event as Reasoned).why);
      expect(new Set(why)).toEqual(new Set<string>(REASONS[name]));
    }
  });

  it.each(EVENT_NAMES)(
    'have the members that are written down for %s, and no others',
    async (name) => {
      const { all } = await story();
      const seen = all
        .filter(([of]) => of === name)
        .map(([, event]) => new Set(Object.keys(event)));
      const ever = [...new Set(seen.flatMap((members) => [...members]))];
      const presence = Object.fromEntries(
        ever.map((member) => [
          member,
          seen.every((members) => members.has(member)) ? 'always' : 'sometimes',
        ]),
      );
      expect(presence).toEqual(EVENTS[name]);
    },
  );

  it('hold no token, no part of one, and no secret', async () => {
    const { all, secrets } = await story();
    const text = JSON.stringify(all);
    const parts = [KEYS.secret, ...[...secrets].flatMap((token) => [token, ...token.split('.')])];
    expect(secrets.size).toBeGreaterThan(20);
    expect(parts.filter((part) => text.includes(part))).toEqual([]);
    // Nor one that the story has not kept in mind.
    expect(text).not.toMatch(/eyJ|[A-Za-z0-9_-]{37,}/);
  });
});

type Reasoned = JwtStateEvents['reissued' | 'revoked'];

// --- what the documentation says ---------------------------------------------------------------

describe('docs/14-events.md', () => {
  const text = readFileSync(new URL('../../docs/14-events.md', import.meta.url), 'utf8');
  const rowsAfter = (heading: string) => {
    const [table = ''] = (text.split(heading)[1] ?? '').trimStart().split('\n\n');
    return table
      .split('\n')
      .map((row) => row.split('|').map((cell) => cell.trim()))
      .filter(([, cell]) => cell?.startsWith('`'));
  };
  const nameIn = (cell = '') => cell.replaceAll('`', '');
  /** Each part begins with names; after a semicolon stands what is there only sometimes. */
  const membersIn = (cell = '') =>
    cell.split(';').flatMap((part, n) => {
      const [names = ''] = /^(\s*`[^`]+`)*/.exec(part) ?? [];
      return [...names.matchAll(/`([^`]+)`/g)].map(([, name = '']) => [
        name,
        n === 0 ? 'always' : 'sometimes',
      ]);
    });

  it('lists every event with its members; all have `at`', () => {
    const rows = rowsAfter('a signature or a key.\n');
    const listed = rows.map(([, name, , members]) => [
      nameIn(name),
      { at: 'always', ...Object.fromEntries(membersIn(members)) },
    ]);
    expect(Object.fromEntries(listed)).toEqual(EVENTS);
    expect(text).toContain('All have `at`');
  });

  it.each(['reissued', 'revoked'] as const)('lists every why of %s', (name) => {
    const rows = rowsAfter(`\`why\` of \`${name}\`:\n`);
    expect(rows.map(([, why]) => nameIn(why)).sort()).toEqual([...REASONS[name]].sort());
  });

  it('names the channels as they are', () => {
    expect(text).toContain(`\`${CHANNELS}<name>\``);
  });
});
