import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { VoidStore } from '../../lib/deny-list/void.store.js';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { Latch } from '../support/latch.js';
import { KeyvLikeStore, MemoryStore } from '../support/memory-store.js';
import { PairStore } from '../support/pair-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

/*
 * Two kinds of service on one store: `sessions` issues refresh tokens of 14 days, a `job` knows of
 * access tokens only. What the job writes must outlive tokens it has never heard of; the store
 * itself says how long.
 */

Logger.overrideLogger(false);

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const START = 1_800_000_000_000;
const TOLERANCE = 5_000;
/** Of marks, on top of the longest lifetime: tolerance, twice the clock skew, a second. */
const ON_TOP = TOLERANCE + 11_000;

const clock = new FakeClock();
let store: MemoryStore;

beforeEach(() => {
  clock.time = START;
  store = new MemoryStore(clock);
});

const OPTIONS: Partial<JwtStateOptions> = {
  accessToken: { expiresIn: '15m' },
  denyList: { claims: ['tenant'] },
  claims: () => ({ tenant: 'acme' }),
};
type Host = { clock?: ReturnType<FakeClock['ahead']>; store?: MemoryStore };

const job = (options: Partial<JwtStateOptions> = {}, host: Host = {}) =>
  assembled({ ...OPTIONS, ...options }, { clock, store, ...host });
const sessions = (options: Partial<JwtStateOptions> = {}, host: Host = {}) =>
  job({ refresh: { tokens: { expiresIn: '14d' } }, ...options }, host);

const refresh = ({ tokens }: Assembly, issued: IssuedToken) =>
  ending(tokens.refresh(issued.refreshToken as string));

/** A handler on the job's side, up to its end or its failure. */
async function handle({ resolver, protocol }: Assembly, { claims }: IssuedToken) {
  return protocol.begin(await resolver.resolve(claims, 'leave'), 'subject');
}

const witness = () => store.get(storeKeys.witness) as string;
const epoch = () => witness().split(' ')[0] as string;
/** For how long the store says that marks are kept. */
const keptFor = () => Number(witness().split(' ')[1]);

const operations = (from = 0) =>
  store.operations.slice(from).map(({ verb, key }) => `${verb} ${kindOf(key)}`);
const kindOf = (key: string) => key.split(':')[1];

// --- what is written -----------------------------------------------------------------------------

const REVOCATIONS: Record<string, (job: Assembly, issued: IssuedToken) => Promise<unknown>> = {
  'its session': ({ tokens }, { claims: { sid } }) => tokens.revoke({ sid }),
  'its session, named by its access token': ({ tokens }, issued) =>
    tokens.revoke({ token: issued.accessToken }),
  'its subject': ({ tokens }) => tokens.revoke({ sub: 'alice' }),
  'its tenant': ({ tokens }) => tokens.revoke({ tenant: 'acme' }),
  'all other sessions of its subject': async ({ tokens }) => {
    const { claims } = await tokens.issue('alice');
    await tokens.revoke({ sub: 'alice', except: claims });
  },
};
const CHANGES: typeof REVOCATIONS = {
  'its subject is marked stale': ({ tokens }) => tokens.markStale({ sub: 'alice' }),
  'its session is marked stale': ({ tokens }, { claims: { sid } }) => tokens.markStale({ sid }),
  'its tenant is marked stale': ({ tokens }) => tokens.markStale({ tenant: 'acme' }),
  'a handler has begun': handle,
  'a handler has ended': async (assembly, issued) => (await handle(assembly, issued)).close(),
  'a handler has failed': async (assembly, issued) => (await handle(assembly, issued)).abandon(),
};
const MARKS = Object.entries({ ...REVOCATIONS, ...CHANGES });
/** The keys of marks, with what is left of their lifetimes. */
const marks = () =>
  [...store.entries]
    .filter(([key]) => /:(sid|revoked|revoked-others|stale):/.test(key))
    .map(([key, { expires = Number.POSITIVE_INFINITY }]) => [kindOf(key), expires - clock.now()]);

describe('a job that knows only access tokens', () => {
  it.each(MARKS)('keeps its mark as long as refresh tokens live: %s', async (_, write) => {
    const issued = await sessions().tokens.issue('alice');
    await write(job(), issued);
    expect(marks()).toEqual([[expect.any(String), 14 * DAY + ON_TOP]]);
  });

  it.each(MARKS)('does so from its first mark to its hundredth: %s', async (_, write) => {
    const issued = await sessions().tokens.issue('alice');
    const other = job();
    for (let again = 0; again < 100; again++) {
      await write(other, issued);
      for (const [, left] of marks()) expect(left).toBe(14 * DAY + ON_TOP);
    }
  });

  it.each(MARKS)('does so where it has written before the others were there: %s', async (_, w) => {
    const other = job();
    await other.tokens.revoke({ sub: 'bob' });
    expect(keptFor()).toBe(15 * MINUTE + ON_TOP);
    const issued = await sessions().tokens.issue('alice');
    store.entries.delete(storeKeys.revoked({ name: 'sub', value: 'bob' }));
    await w(other, issued);
    expect(marks()).toEqual([[expect.any(String), 14 * DAY + ON_TOP]]);
  });

  it('does so in a store that was emptied, before the others are there again', async () => {
    await sessions().tokens.issue('alice');
    const other = job();
    await other.tokens.revoke({ sub: 'bob' });
    store.clear();
    // The second time it has read what the store says now.
    for (const sub of ['alice', 'carol']) await other.tokens.revoke({ sub });
    expect(keptFor()).toBe(15 * MINUTE + ON_TOP);
    for (const [, left] of marks()) expect(left).toBe(14 * DAY + ON_TOP);
  });

  it('keeps it as long as its own tokens live where there are no others', async () => {
    const other = job();
    await other.tokens.revoke({ sub: 'alice' });
    expect(marks()).toEqual([['revoked', 15 * MINUTE + ON_TOP]]);
  });

  it('says of a handler that has ended that it has ended, though its mark was written twice', async () => {
    const issued = await sessions().tokens.issue('alice');
    await (await handle(job(), issued)).close();
    expect(store.get(storeKeys.stale({ name: 'sub', value: 'alice' }))).not.toContain('=');
  });

  it('tells of one revocation once', async () => {
    const { claims } = await sessions().tokens.issue('alice');
    const other = job();
    const told: unknown[] = [];
    for (const name of ['revoked', 'marked-stale'] as const) {
      other.events.on(name, () => void told.push(name));
    }
    await other.tokens.revoke({ sid: claims.sid });
    await other.tokens.markStale({ sub: 'alice' });
    expect(told).toEqual(['revoked', 'marked-stale']);
  });
});

const STORES = {
  'like Keyv': KeyvLikeStore,
  'like a Redis cluster': MemoryStore,
  'like one Redis': PairStore,
};

describe.each(Object.entries(STORES))('a mark that stands in a store %s', (_, Store) => {
  beforeEach(() => {
    store = new Store(clock);
  });

  const standing = async () => {
    const all = sessions();
    const issued = await all.tokens.issue('alice');
    await all.tokens.revoke({ sid: issued.claims.sid });
    return { issued, again: job().tokens.revoke({ sid: issued.claims.sid }) };
  };

  it('is not shortened by a job that writes it again', async () => {
    const { again } = await standing();
    await again;
    expect(marks()).toEqual([['sid', 14 * DAY + ON_TOP]]);
  });

  it('is not shortened by a job that fails in the middle', async () => {
    let writes = 0;
    store.onOperation = ({ verb }) => {
      if (verb === 'write') writes += 1;
      // The first is that of the service that knows.
      return verb === 'write' && writes > 2 ? 'lost' : undefined;
    };
    const { again } = await standing();
    await ending(again);
    expect(marks()).toEqual([['sid', 14 * DAY + ON_TOP]]);
  });

  it('is not shortened by a write that lands late, after it was tried again', async () => {
    const all = sessions();
    const { claims } = await all.tokens.issue('alice');
    const other = job();
    store.onOperation = ({ verb }) => (verb === 'write' ? 'late' : undefined);
    expect(await ending(other.tokens.revoke({ sid: claims.sid }))).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    await other.tokens.revoke({ sid: claims.sid });
    store.release();
    expect(marks()).toEqual([['sid', 14 * DAY + ON_TOP]]);
  });
});

/** What a store does that keeps the later end; Keyv cannot, and these are its double faults. */
describe.each([
  ['like a Redis cluster', MemoryStore],
  ['like one Redis', PairStore],
])('a mark that was confirmed, in a store %s', (_, Store) => {
  /** A job that has asked the store a moment before the others come. */
  async function unaware() {
    store = new Store(clock);
    const jobStore = new Store(clock, store.entries);
    const made = job({}, { store: jobStore });
    await made.tokens.revoke({ sub: 'bob' });
    clock.advance(10_000);
    const all = sessions();
    const issued = await all.tokens.issue('alice');
    return { made, jobStore, all, issued };
  }
  type Unaware = Awaited<ReturnType<typeof unaware>>;
  const isMark = ({ key }: { key: string }) => /:(revoked|stale|sid):/.test(key);

  const WAYS: Record<string, (service: Assembly, issued: IssuedToken) => Promise<unknown>> = {
    ...REVOCATIONS,
    'its subject is marked stale': ({ tokens }) => tokens.markStale({ sub: 'alice' }),
  };
  delete WAYS['all other sessions of its subject'];

  it.each(Object.entries(WAYS))(
    'is not shortened by a job that fails between its two writes: %s',
    async (_way, write) => {
      const { made, jobStore, all, issued }: Unaware = await unaware();
      await write(all, issued);
      store.entries.delete(storeKeys.revoked({ name: 'sub', value: 'bob' }));
      clock.advance(20_000);
      let written = 0;
      jobStore.onOperation = (operation) => {
        if (operation.verb === 'read' || !isMark(operation)) return undefined;
        written += operation.verb === 'write' ? 1 : 0;
        return written > 1 ? 'lost' : undefined;
      };
      await ending(write(made, issued));
      const kept = marks();
      expect(kept).toEqual([[expect.any(String), expect.any(Number)]]);
      expect(kept[0]?.[1]).toBeGreaterThanOrEqual(14 * DAY + ON_TOP - 20_000);
    },
  );

  it('is not shortened by a first write that lands after its repetition', async () => {
    const { made, jobStore, all, issued } = await unaware();
    jobStore.onOperation = ({ verb }) => (verb === 'write' ? 'late' : undefined);
    const revoke = () => ending(made.tokens.revoke({ sub: 'alice' }));
    expect(await revoke()).toBe('DENY_LIST_UNAVAILABLE');
    jobStore.onOperation = () => undefined;
    expect(await revoke()).toBe('ok');
    jobStore.release();
    clock.advance(16 * MINUTE);
    expect(await refresh(all, issued)).toBe('INVALID_GRANT');
  });

  it('is kept as long as the answer says that came after it, and not after a refused attempt', async () => {
    const { made, jobStore } = await unaware();
    await made.tokens.markStale({ sub: 'carol' });
    let exchanges = 0;
    jobStore.onOperation = async ({ verb, key }) => {
      if (verb !== 'writeIfUnchanged' || !key.includes('stale')) return undefined;
      exchanges += 1;
      // The first was refused, and its question answered; now others come, and have not seen the mark.
      const longer = sessions({ refresh: { tokens: { expiresIn: '20d' } } });
      if (exchanges === 2) await longer.tokens.issue('carol');
      return undefined;
    };
    await made.tokens.markStale({ sub: 'carol' });
    const { expires = 0 } =
      store.entries.get(storeKeys.stale({ name: 'sub', value: 'carol' })) ?? {};
    expect(expires - clock.now()).toBeGreaterThanOrEqual(20 * DAY + ON_TOP);
  });

  it('is kept long enough by who takes another’s mark for his own', async () => {
    store = new Store(clock);
    const all = sessions();
    await all.tokens.issue('alice');
    const stale = storeKeys.stale({ name: 'sub', value: 'alice' });
    await all.tokens.markStale({ sub: 'alice' });
    let exchanges = 0;
    store.onOperation = ({ verb, key }) => {
      if (verb !== 'writeIfUnchanged' || key !== stale) return undefined;
      exchanges += 1;
      // Somebody who knows of 15 minutes, and dies before he asks.
      const value = 'another';
      if (exchanges === 2) {
        store.entries.set(stale, { value, expires: clock.now() + 15 * MINUTE + ON_TOP });
      }
      return undefined;
    };
    await all.tokens.markStale({ sub: 'alice' });
    const { value, expires = 0 } = store.entries.get(stale) ?? {};
    expect([value, expires - clock.now()]).toEqual(['another', 14 * DAY + ON_TOP]);
  });

  it('that was set to stay for ever by hand ends like any other', async () => {
    store = new Store(clock);
    store.entries.set(storeKeys.sid('s'), { value: '1', expires: undefined });
    await job().tokens.revoke({ sid: 's' });
    expect(marks()).toEqual([['sid', 15 * MINUTE + ON_TOP]]);
  });
});

// --- to the end of the token ---------------------------------------------------------------------

const SKEWS = [0, 5_000];
const rounds = SKEWS.flatMap((issuer) =>
  SKEWS.flatMap((writer) =>
    SKEWS.flatMap((reader) =>
      (['store', 'hosts'] as const).map((by) => ({ by, issuer, writer, reader })),
    ),
  ),
);

describe.each(Object.entries(REVOCATIONS))('a refresh token, revoked by a job: %s', (_, revoke) => {
  it.each(rounds)(
    'is refused until it expires: lifetimes by the $by, $issuer, $writer, $reader ms',
    async ({ by, ...ahead }) => {
      clock.time = START + 999;
      const host = (offset: number): Required<Host> => {
        const own = clock.ahead(offset);
        return {
          clock: own,
          store: by === 'store' ? store : new KeyvLikeStore(own, store.entries),
        };
      };
      const issued = await sessions({}, host(ahead.issuer)).tokens.issue('alice');
      await revoke(job({}, host(ahead.writer)), issued);
      const reader = sessions({}, host(ahead.reader));
      const another = sessions({}, host(5_000));
      const claims = issued.refreshClaims as VerifiedToken;
      const end = claims.exp * 1_000 + TOLERANCE - ahead.reader;
      const signatureHolds = () =>
        ending(reader.verifier.verifyRefreshToken(issued.refreshToken as string));
      for (const [offset, expected] of [
        [-1, 'ok'],
        [0, 'TOKEN_EXPIRED'],
        [1, 'TOKEN_EXPIRED'],
      ] as const) {
        clock.time = end + offset;
        // One that is ahead looks first, and removes what it takes for expired.
        await another.denyList.lookInStore(claims, 'refresh');
        const { verdict } = await reader.denyList.lookInStore(claims, 'refresh');
        expect([offset, await signatureHolds(), verdict.state]).toEqual([
          offset,
          expected,
          'revoked',
        ]);
        expect(await refresh(reader, issued)).toBe('INVALID_GRANT');
      }
    },
  );
});

describe('a change that a job has marked', () => {
  it('is news to an access token that a refresh copies 13 days later', async () => {
    const issuing = sessions({ claims: undefined });
    const { refreshToken } = await issuing.tokens.issue('alice', { tenant: 'acme' });
    const other = job();
    await other.tokens.markStale({ sub: 'alice' });
    clock.advance(13 * DAY);
    const next = await issuing.tokens.refresh(refreshToken as string);
    expect(await ending(other.tokens.verify(next.accessToken))).toBe('TOKEN_STALE');
  });
});

// --- the announcement ----------------------------------------------------------------------------

/** A session of access tokens, in a store that says 15 minutes; and a service whose tokens live longer. */
const ISSUING: Record<string, () => Promise<{ attempt: () => Promise<unknown>; next?: string }>> = {
  'a log-in': async () => {
    const all = sessions();
    return { attempt: () => all.tokens.issue('alice') };
  },
  'a refresh': async () => {
    const before = job({ refresh: { tokens: { expiresIn: '1h' } } });
    const { refreshToken = '', refreshClaims } = await before.tokens.issue('alice');
    const all = sessions();
    return {
      attempt: () => all.tokens.refresh(refreshToken),
      next: refreshClaims?.jti as string,
    };
  },
  'a reissue that renews': async () => {
    const { claims } = await job().tokens.issue('alice');
    const longer = job({ accessToken: { expiresIn: '2d' }, reissue: { expiry: 'renew' } });
    return { attempt: () => longer.tokens.reissue(claims), next: claims.jti };
  },
  'a request with a stale token': async () => {
    const { claims } = await job().tokens.issue('alice');
    await job().tokens.markStale({ sub: 'alice' });
    const longer = job({ accessToken: { expiresIn: '2d' }, reissue: { expiry: 'renew' } });
    return { attempt: () => longer.resolver.resolve(claims, 'reissue'), next: claims.jti };
  },
};

describe.each(Object.entries(ISSUING))('before %s brings a token that lives longer', (_, make) => {
  const isAnnouncement = ({ verb, key }: { verb: string; key: string }) =>
    verb !== 'read' && key === storeKeys.witness;

  it('the store says so', async () => {
    await job().tokens.issue('bob');
    const { attempt, next } = await make();
    const before = keptFor();
    const reached = new Latch('the announcement');
    const released = new Latch('the test');
    store.onOperation = async (operation) => {
      if (!isAnnouncement(operation)) return undefined;
      reached.open();
      await released.opened;
      return undefined;
    };
    let isIssued = false;
    const issuing = attempt().then(() => {
      isIssued = true;
    });
    await reached.reached();
    expect(isIssued).toBe(false);
    expect(keptFor()).toBe(before);
    expect(next && store.get(storeKeys.next(next, 'access'))).toBeUndefined();
    released.open();
    await issuing;
    expect(keptFor()).toBeGreaterThanOrEqual(2 * DAY + ON_TOP);
    expect(keptFor()).toBeGreaterThan(before);
  });

  it('or it is 503 and there is none', async () => {
    await job().tokens.issue('bob');
    const { attempt, next } = await make();
    store.onOperation = (operation) => (isAnnouncement(operation) ? 'lost' : undefined);
    expect(await ending(attempt())).toBe('DENY_LIST_UNAVAILABLE');
    expect(next && store.get(storeKeys.next(next, 'access'))).toBeUndefined();
    store.onOperation = () => undefined;
    expect(await ending(attempt())).toBe('ok');
    expect(keptFor()).toBeGreaterThanOrEqual(2 * DAY + ON_TOP);
  });

  it('not where it says so already: nothing is written then', async () => {
    await sessions().tokens.issue('bob');
    const { attempt } = await make();
    const before = store.operations.length;
    await attempt();
    expect(operations(before)).not.toContain('writeIfUnchanged witness');
    expect(keptFor()).toBe(14 * DAY + ON_TOP);
  });
});

describe('the announcement', () => {
  it('does not change the epoch: nobody is logged out by it', async () => {
    const other = job();
    const { accessToken } = await other.tokens.issue('alice');
    const before = epoch();
    await sessions().tokens.issue('bob');
    expect(epoch()).toBe(before);
    expect(await ending(other.tokens.verify(accessToken))).toBe('ok');
  });

  it('brings no token into another store than that by which its predecessor was judged: 503', async () => {
    const { tokens, denyList } = sessions();
    const { claims } = await tokens.issue('alice');
    const { snapshot } = await denyList.lookInStore(claims);
    // The store begins anew, and says less than this service needs: it finds out by another request.
    store.clear();
    await job().tokens.issue('bob');
    store.onOperation = ({ verb }) => (verb === 'writeIfUnchanged' ? 'lost' : undefined);
    await denyList.lookInStore(claims);
    store.onOperation = () => undefined;
    expect(await ending(denyList.forIssuing(snapshot))).toBe('DENY_LIST_UNAVAILABLE');
  });

  it('is for ever', async () => {
    await job().tokens.issue('alice');
    await sessions().tokens.issue('alice');
    expect(store.entries.get(storeKeys.witness)?.expires).toBeUndefined();
  });

  it('is never taken down, nor by services that live shorter', async () => {
    await sessions().tokens.issue('alice');
    await sessions({ refresh: { tokens: { expiresIn: '1h' } } }).tokens.issue('alice');
    await job().tokens.issue('alice');
    expect(keptFor()).toBe(14 * DAY + ON_TOP);
  });

  it.each(['the shorter first', 'the longer first'])(
    'of two at once, both found the same: the longer stands, %s',
    async (order) => {
      await job().tokens.issue('bob');
      const lifetimes = ['14d', '20d'] as const;
      const turns = lifetimes.map((lifetime) => new Latch(lifetime));
      let arrived = 0;
      const both = new Latch('both have read');
      store.onOperation = async ({ verb, key }) => {
        if (verb !== 'writeIfUnchanged' || key !== storeKeys.witness || arrived >= 2) return;
        const mine = turns[arrived] as Latch;
        arrived += 1;
        if (arrived === 2) both.open();
        await mine.opened;
        return undefined;
      };
      const logins = lifetimes.map((expiresIn) =>
        sessions({ refresh: { tokens: { expiresIn } } }).tokens.issue('alice'),
      );
      await both.reached();
      const [one, two] = order.startsWith('the shorter') ? [0, 1] : [1, 0];
      turns[one]?.open();
      await logins[one];
      turns[two]?.open();
      await Promise.all(logins);
      expect(keptFor()).toBe(20 * DAY + ON_TOP);
    },
  );

  it('by 20 services at once, of an empty store: one epoch, and the longest stands', async () => {
    const services = Array.from({ length: 20 }, (_, n) =>
      sessions({ refresh: { tokens: { expiresIn: `${((n * 7) % 20) + 1}d` } } }),
    );
    const issued = await Promise.all(services.map(({ tokens }) => tokens.issue('alice')));
    expect(keptFor()).toBe(20 * DAY + ON_TOP);
    expect(new Set(issued.map(({ claims }) => claims.seen.epoch))).toEqual(new Set([epoch()]));
  });

  it('is made once: the next log-in neither asks nor writes', async () => {
    const { tokens } = sessions();
    await tokens.issue('alice');
    const before = store.operations.length;
    await tokens.issue('alice');
    // Of the subject, and of the tenant that the source has named.
    expect(operations(before)).toEqual(['read stale', 'read stale']);
  });

  it('is made anew where the store was emptied', async () => {
    const all = sessions();
    const first = await all.tokens.issue('alice');
    store.clear();
    const other = job();
    await other.tokens.issue('bob');
    expect(keptFor()).toBe(15 * MINUTE + ON_TOP);
    const second = await all.tokens.issue('alice');
    expect(keptFor()).toBe(14 * DAY + ON_TOP);
    expect(second.claims.seen.epoch).not.toBe(first.claims.seen.epoch);
    await other.tokens.revoke({ sub: 'alice' });
    clock.advance(13 * DAY);
    expect(await refresh(all, second)).toBe('INVALID_GRANT');
  });

  /** A log-in, and a revocation by a job, one of them in the middle of the other. */
  async function together(outer: 'log-in' | 'revocation', n: number) {
    clock.time = START;
    store = new MemoryStore(clock);
    const other = job();
    await other.tokens.issue('bob');
    // It has asked for the last time before the others come.
    clock.advance(MINUTE);
    const all = sessions();
    let issued: IssuedToken | undefined;
    const logIn = async () => {
      issued = await all.tokens.issue('alice');
    };
    const revoke = () => other.tokens.revoke({ sub: 'alice' });
    const [run, inner] = outer === 'log-in' ? [logIn, revoke] : [revoke, logIn];
    const before = store.operations.length;
    let happened = false;
    store.onOperation = async (operation) => {
      if (happened || operation.n - before !== n) return undefined;
      happened = true;
      await inner();
      return undefined;
    };
    await run();
    store.onOperation = () => undefined;
    return happened ? { all, issued: issued as IssuedToken } : undefined;
  }

  it.each(['log-in', 'revocation'] as const)(
    'leaves no gap: what is revoked in the middle of the other stays so, the outer one is a %s',
    async (outer) => {
      const found = new Set<string>();
      for (let n = 1; ; n++) {
        const both = await together(outer, n);
        if (!both) break;
        const { all, issued } = both;
        const now = await ending(all.tokens.verify(issued.accessToken));
        clock.advance(13 * DAY);
        const later = await refresh(all, issued);
        found.add(now);
        expect([n, now, later]).toEqual([n, now, now === 'ok' ? 'ok' : 'INVALID_GRANT']);
      }
      expect(found).toContain('TOKEN_REVOKED');
    },
  );
});

// --- services that cannot write ------------------------------------------------------------------

describe('a service that may only read', () => {
  async function readOnly() {
    const { tokens } = sessions();
    const issued = await tokens.issue('alice');
    const reader = job({ claims: undefined });
    const allow = () => {
      store.onOperation = () => undefined;
    };
    store.onOperation = ({ verb }) => (verb === 'read' ? undefined : 'lost');
    return { tokens, issued, reader, allow };
  }

  it('verifies', async () => {
    const { issued, reader } = await readOnly();
    expect(await ending(reader.tokens.verify(issued.accessToken))).toBe('ok');
  });

  it('sees what others have revoked, marked and replaced', async () => {
    const { tokens, issued, reader, allow } = await readOnly();
    const verified = () => ending(reader.tokens.verify(issued.accessToken));
    allow();
    await tokens.markStale({ sub: 'alice' });
    store.onOperation = ({ verb }) => (verb === 'read' ? undefined : 'lost');
    expect(await verified()).toBe('TOKEN_STALE');
    allow();
    await tokens.reissue(issued.claims);
    store.onOperation = ({ verb }) => (verb === 'read' ? undefined : 'lost');
    expect(await verified()).toBe('ok');
    allow();
    await tokens.revoke({ sub: 'alice' });
    store.onOperation = ({ verb }) => (verb === 'read' ? undefined : 'lost');
    expect(await verified()).toBe('TOKEN_REVOKED');
  });

  it('verifies, though its own tokens live longer than the store says', async () => {
    const { accessToken } = await sessions().tokens.issue('alice');
    const reader = sessions({ refresh: { tokens: { expiresIn: '20d' } } });
    store.onOperation = ({ verb }) => (verb === 'read' ? undefined : 'lost');
    for (let again = 0; again < 5; again++) {
      expect(await ending(reader.tokens.verify(accessToken))).toBe('ok');
      clock.advance(400);
    }
    // It tries once in a while, and not with each look.
    const attempts = operations().filter((what) => what === 'writeIfUnchanged witness');
    expect(attempts.length).toBeLessThanOrEqual(2);
    expect(await ending(reader.tokens.issue('alice'))).toBe('DENY_LIST_UNAVAILABLE');
  });

  it.each([
    [999, 1],
    [1_000, 2],
    [-1, 2],
    [-3_600_000, 2],
  ])('tries again after a second, or where the clock is put back: %p ms', async (passed, tries) => {
    const { claims } = await job().tokens.issue('alice');
    const reader = sessions();
    store.onOperation = ({ verb }) => (verb === 'read' ? undefined : 'lost');
    await reader.denyList.lookInStore(claims);
    clock.advance(passed);
    await reader.denyList.lookInStore(claims);
    const attempts = operations().filter((what) => what === 'writeIfUnchanged witness');
    expect(attempts).toHaveLength(tries);
  });

  it('says of a revocation that it did not happen', async () => {
    const { issued, reader } = await readOnly();
    const attempt = reader.tokens.revoke({ sub: 'alice' });
    expect(await ending(attempt)).toBe('DENY_LIST_UNAVAILABLE');
    expect(await ending(reader.tokens.verify(issued.accessToken))).toBe('ok');
  });
});

// --- what it holds -------------------------------------------------------------------------------

describe.each([
  '',
  ' ',
  'x',
  'epoch abc',
  'epoch -1',
  'epoch 0',
  'epoch 1.5',
  'epoch 1e400',
  'a b c',
])('a witness that says %j', (value) => {
  beforeEach(() => {
    store.entries.set(storeKeys.witness, { value, expires: undefined });
  });

  it('is an epoch: tokens are issued in it, and work', async () => {
    const all = sessions();
    const issued = await all.tokens.issue('alice');
    expect(issued.claims.seen.epoch).toBe(epoch());
    expect(await ending(all.tokens.verify(issued.accessToken))).toBe('ok');
    expect(await ending(job().tokens.verify(issued.accessToken))).toBe('ok');
    expect(await refresh(all, issued)).toBe('ok');
  });

  it('is made to say how long marks are kept, by the first who issues', async () => {
    await sessions().tokens.issue('alice');
    expect(keptFor()).toBe(14 * DAY + ON_TOP);
    const other = job();
    await other.tokens.revoke({ sub: 'alice' });
    expect(marks()).toEqual([['revoked', 14 * DAY + ON_TOP]]);
  });

  it('shortens no mark', async () => {
    const other = job();
    await other.tokens.revoke({ sub: 'alice' });
    const [[, left]] = marks() as [[string, number]];
    expect(left).toBe(15 * MINUTE + ON_TOP);
  });
});

describe('lifetimes without end', () => {
  it('are those of a service without a deny list: it issues at once', async () => {
    const nowhere = new VoidStore(storeKeys.witness);
    let writes = 0;
    const { writeIfUnchanged } = nowhere;
    nowhere.writeIfUnchanged = async () => {
      writes += 1;
      // An endless loop would not let this test fail.
      if (writes > 10) throw new Error('It writes again and again.');
      return writeIfUnchanged.call(nowhere);
    };
    const { issuer } = assembled({ denyList: false }, { clock, store: nowhere });
    expect(await ending(issuer.issue('alice'))).toBe('ok');
  });

  it('longer than a safe integer of milliseconds either stop the boot or work', async () => {
    store.onOperation = ({ n }) => (n > 20 ? 'lost' : undefined);
    let issue = async (): Promise<unknown> => undefined;
    try {
      const { tokens } = job({ denyList: { longestLifetime: 2 ** 50 } });
      issue = () => tokens.issue('alice');
    } catch (error) {
      expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    }
    expect(await ending(issue())).toBe('ok');
  });
});

// --- what it costs -------------------------------------------------------------------------------

describe('what it costs', () => {
  async function costOf(run: () => unknown) {
    const before = store.operations.length;
    await run();
    return operations(before);
  }

  it('a look is one read, but for the first of a process', async () => {
    const { claims, accessToken } = await sessions().tokens.issue('alice');
    const other = job();
    await other.denyList.look(claims);
    for (let again = 0; again < 3; again++) {
      expect(await costOf(() => other.denyList.look(claims))).toEqual(['read next']);
      expect(await costOf(() => other.tokens.verify(accessToken))).toEqual(['read next']);
      await sessions({ refresh: { tokens: { expiresIn: `${20 + again}d` } } }).tokens.issue('bob');
      clock.advance(2 * MINUTE);
    }
  });

  it('a revocation is one write and one read', async () => {
    const all = sessions();
    const { claims } = await all.tokens.issue('alice');
    for (const target of [{ sid: claims.sid }, { sub: 'alice' }, { tenant: 'acme' }]) {
      const cost = await costOf(() => all.tokens.revoke(target as { sub: string }));
      expect(cost).toEqual([expect.stringMatching(/^write (sid|revoked)$/), 'read witness']);
    }
  });

  it.each([
    [true, 'at the same time', ['write revoked', 'read witness']],
    [false, 'one after the other', ['write revoked']],
  ])('on a store that is ordered (%p) they are made %s', async (isOrdered, _, expected) => {
    Object.assign(store, { isOrdered });
    const all = sessions();
    await all.tokens.issue('alice');
    const before = store.operations.length;
    store.onOperation = ({ verb }) => (verb === 'write' ? 'hangs' : undefined);
    const revoking = all.tokens.revoke({ sub: 'alice' });
    await new Promise(setImmediate);
    expect(operations(before)).toEqual(expected);
    store.onOperation = () => undefined;
    store.release();
    await revoking;
  });

  it('where an end may be cut short, who has not asked lately asks before he writes', async () => {
    store = new KeyvLikeStore(clock);
    await sessions().tokens.issue('alice');
    const other = job();
    const revoke = () => other.tokens.revoke({ sub: 'alice' });
    for (let again = 0; again < 2; again++) {
      expect(await costOf(revoke)).toEqual(['read witness', 'write revoked', 'read witness']);
      expect(await costOf(revoke)).toEqual(['write revoked', 'read witness']);
      clock.advance(MINUTE);
    }
  });

  it('where none is, nobody asks before he writes', async () => {
    await sessions().tokens.issue('alice');
    const other = job();
    const revoke = () => other.tokens.revoke({ sub: 'alice' });
    expect(await costOf(revoke)).toEqual(['write revoked', 'read witness', 'write revoked']);
    clock.advance(MINUTE);
    expect(await costOf(revoke)).toEqual(['write revoked', 'read witness']);
  });

  it('who finds that others have come since writes once more', async () => {
    const other = job();
    const revoke = () => other.tokens.revoke({ sub: 'alice' });
    await revoke();
    await sessions().tokens.issue('alice');
    const cost = await costOf(revoke);
    expect(cost.filter((what) => what === 'write revoked')).toHaveLength(2);
    expect(await costOf(revoke)).toEqual(['write revoked', 'read witness']);
  });

  it('a revocation whose question is not answered is 503, though it was written', async () => {
    const all = sessions();
    const issued = await all.tokens.issue('alice');
    store.onOperation = ({ key }) => (key === storeKeys.witness ? 'lost' : undefined);
    expect(await ending(all.tokens.revoke({ sub: 'alice' }))).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    expect(await refresh(all, issued)).toBe('INVALID_GRANT');
  });
});

it('a store that is emptied while a superseded token is looked up does not seem to have lost its successor', async () => {
  const { tokens, resolver } = job();
  const { claims } = await tokens.issue('alice');
  await tokens.reissue(claims);
  store.operations.length = 0;
  store.onOperation = ({ n }) => {
    if (n === 2) store.clear();
    return undefined;
  };
  // Its successor is looked at in the empty store: everybody has to log in again.
  expect(await ending(resolver.resolve(claims, 'reissue'))).toBe('DENY_LIST_LOST');
});
