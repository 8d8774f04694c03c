import { describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { type Fault, MemoryStore } from '../support/memory-store.js';
import { PairStore } from '../support/pair-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

/*
 * One store operation of a rotation goes wrong, each in every way it can. The client comes back with
 * the token it has. Whatever happened, and whenever a late write lands: it is never logged out, and
 * its token has at most one successor.
 */

Logger.overrideLogger(false);

const FAULTS: Fault[] = ['lost', 'unconfirmed', 'late'];
const DEADLINE = 5;
const GRACE = 30_000;

/** How the records of a rotation come into the store, and the verb that `next` is written by. */
const STORES = {
  'both at once': { Store: PairStore, verb: 'writeBothIfAbsent' },
  'one after the other': { Store: MemoryStore, verb: 'writeIfAbsent' },
} as const;
type Store = (typeof STORES)[keyof typeof STORES]['Store'];

function world(Store: Store = PairStore) {
  const clock = new FakeClock();
  const store = new Store(clock);
  const state: Record<string, unknown> = { plan: 'free' };
  const options = {
    accessToken: { expiresIn: '15m' },
    refresh: { tokens: { expiresIn: '4h' } },
    denyList: { claims: ['tenant'] },
    claims: (_: string, previous: VerifiedToken | undefined) => ({
      tenant: previous?.tenant ?? 'acme',
      ...state,
    }),
  } as const;
  const assembly = assembled(options, { clock, store, deadline: DEADLINE });
  return { clock, store, state, ...assembly };
}
type World = ReturnType<typeof world>;

/** What the client holds, and every refresh token it was ever given. */
class Client {
  private readonly first: string;
  private readonly given = new Set<string>();

  constructor(
    private readonly w: World,
    public held: IssuedToken,
  ) {
    this.first = idOf(held);
  }

  /** `presented`: an older one, where the client has not noticed that it got another. */
  refresh(presented = this.held): Promise<string> {
    return ending(
      this.w.tokens.refresh(presented.refreshToken as string).then((issued) => {
        this.given.add(idOf(issued));
        this.held = issued;
      }),
    );
  }

  /** Every token has one successor: what was given beside the line from the first one on. */
  get strays(): string[] {
    const line = new Set<string>();
    for (let jti: string | undefined = this.first; jti !== undefined; ) {
      line.add(jti);
      jti = this.successorOf(jti);
    }
    return [...this.given].filter((jti) => !line.has(jti));
  }

  /** By `next`, and by `jti` when that has gone. */
  private successorOf(jti: string): string | undefined {
    const payload = this.w.store.get(storeKeys.next(jti, 'refresh'))?.split('.')[1];
    if (payload) return JSON.parse(Buffer.from(payload, 'base64url').toString()).claims.jti;
    return this.w.store.get(storeKeys.jti(jti, 'refresh'))?.split(' ')[1];
  }
}

const idOf = ({ refreshClaims }: IssuedToken) => refreshClaims?.jti as string;

interface Scenario {
  /** The successor of the presented token was used: after grace it would be reuse. */
  readonly inGrace?: boolean;
  /** Before anything goes wrong. Answers the token that is presented, if not the one held. */
  prepare?(w: World, client: Client): Promise<IssuedToken | undefined>;
}

const SCENARIOS: Record<string, Scenario> = {
  'the first use of a token': {},
  'its second use, in grace': {
    prepare: async (_, client) => {
      const first = client.held;
      await client.refresh();
      return first;
    },
  },
  'its second use, after grace, the successor lost': {
    prepare: async ({ clock }, client) => {
      const first = client.held;
      await client.refresh();
      clock.advance(GRACE);
      return first;
    },
  },
  'a use in grace, two successors later': {
    inGrace: true,
    prepare: async (_, client) => {
      const first = client.held;
      await client.refresh();
      await client.refresh();
      return first;
    },
  },
  'a use after a tenant was chosen': {
    prepare: async ({ tokens }, client) => {
      await tokens.reissue(client.held.claims, { tenant: 'globex' });
      return undefined;
    },
  },
  'a use that leaves the tenant': {
    prepare: async ({ state }) => {
      state.tenant = 'initech';
      return undefined;
    },
  },
  'a use after a change from elsewhere': {
    prepare: async ({ state, tokens }) => {
      state.plan = 'premium';
      await tokens.markStale({ sub: 'alice' });
      return undefined;
    },
  },
};

interface Run {
  readonly w: World;
  readonly client: Client;
  readonly presented: IssuedToken;
  readonly outcome: string;
  readonly where: string;
}

/** A use whose n-th operation goes wrong; `undefined` where it has fewer. */
async function attempt(
  Store: Store,
  { prepare }: Scenario,
  n: number,
  fault: Fault,
): Promise<Run | undefined> {
  const w = world(Store);
  const client = new Client(w, await w.tokens.issue('alice'));
  w.clock.advance(1_000);
  const presented = (await prepare?.(w, client)) ?? client.held;
  const before = w.store.operations.length;
  let what = '';
  w.store.onOperation = (operation) => {
    if (operation.n - before !== n) return undefined;
    what = `${operation.verb} ${operation.key}`;
    return fault;
  };
  const outcome = await client.refresh(presented);
  w.store.onOperation = () => undefined;
  const where = `operation ${n} ${fault}: ${what}`;
  return what === '' ? undefined : { w, client, presented, outcome, where };
}

async function everyFault(
  Store: Store,
  scenario: Scenario,
  check: (run: Run) => Promise<void>,
  faults: readonly Fault[] = FAULTS,
): Promise<void> {
  let runs = 0;
  for (const fault of faults) {
    for (let n = 1; ; n++) {
      const run = await attempt(Store, scenario, n, fault);
      if (!run) break;
      runs += 1;
      await check(run);
    }
  }
  expect(runs).toBeGreaterThanOrEqual(2 * faults.length);
}

/** The client goes on: its refresh token is exchanged, and the access token works. */
async function expectToGoOn({ w, client, where }: Run): Promise<void> {
  expect([where, await client.refresh()]).toEqual([where, 'ok']);
  const { accessToken } = client.held;
  expect([where, await ending(w.tokens.verify(accessToken))]).toEqual([where, 'ok']);
}

// What was held back lands before the client comes back, after it has, or never.
const LANDS = ['before', 'after', 'never'] as const;
// At once, when the grace period is over, and much later.
const RETURNS = [0, GRACE, 600_000];
const whenIn = (returns: readonly number[]) =>
  LANDS.flatMap((lands) => returns.map((after) => ({ lands, returns: after })));

const CASES = Object.entries(STORES).flatMap(([how, { Store }]) =>
  Object.entries(SCENARIOS).map(([what, scenario]) => ({ how, what, Store, scenario })),
);

describe.each(CASES)('$what, the records $how:', ({ Store, scenario }) => {
  it('ends well or with 503', async () => {
    await everyFault(
      Store,
      scenario,
      async ({ where, outcome }) => {
        const expected = expect.stringMatching(/^(ok|DENY_LIST_UNAVAILABLE)$/);
        expect([where, outcome]).toEqual([where, expected]);
      },
      [...FAULTS, 'hangs'],
    );
  });

  it.each(whenIn(RETURNS))(
    'logs nobody out: late writes land $lands, back after $returns ms',
    async ({ lands, returns }) => {
      await everyFault(Store, scenario, async (run) => {
        const { w, client } = run;
        if (lands === 'before') w.store.release();
        w.clock.advance(returns);
        await expectToGoOn(run);
        if (lands === 'after') w.store.release();
        for (const pause of [0, GRACE, 600_000]) {
          w.clock.advance(pause);
          await expectToGoOn(run);
        }
        expect([run.where, client.strays]).toEqual([run.where, []]);
      });
    },
  );

  // The answer of the attempt got lost, as that of one with 503 did.
  it.each(whenIn(scenario.inGrace ? [0] : RETURNS))(
    'takes the old token once more: late writes land $lands, back after $returns ms',
    async ({ lands, returns }) => {
      await everyFault(Store, scenario, async (run) => {
        const { w, client, presented, where } = run;
        if (lands === 'before') w.store.release();
        w.clock.advance(returns);
        expect([where, await client.refresh(presented)]).toEqual([where, 'ok']);
        if (lands === 'after') w.store.release();
        expect([where, await client.refresh(presented)]).toEqual([where, 'ok']);
        for (const pause of [0, GRACE, 600_000]) {
          w.clock.advance(pause);
          await expectToGoOn(run);
        }
        expect([where, client.strays]).toEqual([where, []]);
      });
    },
  );

  it.each([0, GRACE])(
    'stands two faults in a row, in every combination, %p ms apart',
    async (apart) => {
      for (const first of FAULTS) {
        for (let n = 1; ; n++) {
          let m = 0;
          for (;;) {
            m += 1;
            const run = await attempt(Store, scenario, n, first);
            if (!run) break;
            const { w, client, where } = run;
            w.clock.advance(apart);
            const before = w.store.operations.length;
            let happened = false;
            w.store.onOperation = (operation) => {
              if (operation.n - before !== m) return undefined;
              happened = true;
              return FAULTS[(n + m) % FAULTS.length];
            };
            await client.refresh();
            w.store.onOperation = () => undefined;
            if (!happened) break;
            w.store.release();
            await expectToGoOn(run);
            w.clock.advance(GRACE);
            await expectToGoOn(run);
            expect([where, m, client.strays]).toEqual([where, m, []]);
          }
          if (m === 1 && !(await attempt(Store, scenario, n, first))) break;
        }
      }
    },
  );
});

describe.each(Object.entries(STORES))(
  'a write that lands when nobody waits for it any more, the records %s,',
  (_, { Store, verb: next }) => {
    it('after its grace period: the first token leads to the one successor, which works', async () => {
      const w = world(Store);
      const first = await w.tokens.issue('alice');
      const client = new Client(w, first);
      w.store.onOperation = ({ verb, key }) =>
        verb === next && key.includes(':next:') ? 'late' : undefined;
      expect(await client.refresh()).toBe('DENY_LIST_UNAVAILABLE');
      w.store.onOperation = () => undefined;
      w.clock.advance(600_000);
      w.store.release();
      expect(await client.refresh()).toBe('ok');
      const successor = client.held.refreshClaims?.jti;
      expect(await client.refresh(first)).toBe('ok');
      expect(client.held.refreshClaims?.jti).toBe(successor);
      expect(await client.refresh()).toBe('ok');
    });

    it('after another one: that one counts, and its holder goes on', async () => {
      const w = world(Store);
      const first = await w.tokens.issue('alice');
      const client = new Client(w, first);
      let writes = 0;
      w.store.onOperation = ({ verb, key }) => {
        if (verb !== next || !key.includes(':next:')) return undefined;
        writes += 1;
        return writes <= 2 ? 'late' : undefined;
      };
      for (const expected of ['DENY_LIST_UNAVAILABLE', 'DENY_LIST_UNAVAILABLE', 'ok']) {
        expect(await client.refresh()).toBe(expected);
      }
      const { held } = client;
      w.clock.advance(600_000);
      w.store.release();
      expect(await client.refresh(first)).toBe('ok');
      expect(client.held.refreshClaims?.jti).toBe(held.refreshClaims?.jti);
      expect(await client.refresh()).toBe('ok');
    });
  },
);

describe('a record that lands when its `next` was answered long ago', () => {
  it('does not pardon a thief: once its successor was used, the first token is reuse', async () => {
    const w = world(MemoryStore);
    const first = await w.tokens.issue('alice');
    const client = new Client(w, first);
    w.store.onOperation = ({ verb, key }) =>
      verb === 'writeIfAbsent' && key.includes(':jti:') ? 'late' : undefined;
    expect([await client.refresh(), await client.refresh()]).toEqual(['ok', 'ok']);
    w.store.onOperation = () => undefined;
    w.clock.advance(GRACE);
    const { held } = client;
    expect(await client.refresh(first)).toBe('INVALID_GRANT');
    w.store.release();
    expect(await client.refresh(held)).toBe('INVALID_GRANT');
  });
});

describe('a store that is down altogether', () => {
  it('is 503 at every attempt; when it is back, the same token is exchanged', async () => {
    const w = world();
    const client = new Client(w, await w.tokens.issue('alice'));
    w.store.onOperation = () => 'lost';
    for (let again = 0; again < 10; again++) {
      expect(await client.refresh()).toBe('DENY_LIST_UNAVAILABLE');
      w.clock.advance(30_000);
    }
    w.store.onOperation = () => undefined;
    expect(await client.refresh()).toBe('ok');
    expect(await client.refresh()).toBe('ok');
  });

  it('ends no session that is reused meanwhile, nor one whose subject has gone, before it is back', async () => {
    const w = world();
    const first = await w.tokens.issue('alice');
    const client = new Client(w, first);
    await client.refresh();
    await client.refresh();
    w.clock.advance(GRACE);
    const { held } = client;
    w.store.onOperation = () => 'lost';
    expect(await client.refresh(first)).toBe('DENY_LIST_UNAVAILABLE');
    w.store.onOperation = () => undefined;
    expect(await client.refresh(held)).toBe('ok');
  });

  it('is not asked about what was not signed by us, nor the claims source before it', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    let asked = 0;
    const { tokens, refreshTokens } = assembled(
      {
        refresh: { tokens: {} },
        claims: () => {
          asked += 1;
          return {};
        },
      },
      { clock, store },
    );
    const { refreshToken = '', accessToken } = await tokens.issue('alice');
    const [operations, questions] = [store.operations.length, asked];
    const broken = `${refreshToken.slice(0, refreshToken.lastIndexOf('.'))}.c2lnbmF0dXJl`;
    for (const text of ['', 'garbage', accessToken, broken]) {
      expect(await ending(refreshTokens?.refresh(text) as Promise<unknown>)).toBe('INVALID_GRANT');
    }
    expect(store.operations).toHaveLength(operations);
    store.onOperation = () => 'lost';
    expect(await ending(tokens.refresh(refreshToken))).toBe('DENY_LIST_UNAVAILABLE');
    expect(asked).toBe(questions);
  });
});
