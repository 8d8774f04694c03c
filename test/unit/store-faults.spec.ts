import { describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { runInHandlerScope } from '../../lib/reissue/handler-scope.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { type Fault, MemoryStore } from '../support/memory-store.js';
import { NearPairStore, PairStore } from '../support/pair-store.js';
import { assembled, ending } from '../support/setup.js';

/*
 * One store operation goes wrong: the first, the second, and so on, in every way it can. Whatever
 * that leads to, it is success or 503; what was confirmed has happened; and nobody is logged out.
 */

Logger.overrideLogger(false);

/** `hangs` is what `late` is, seen through a real deadline: it takes its time, and one run shows it. */
const FAULTS: Fault[] = ['lost', 'unconfirmed', 'late'];
const DEADLINE = 5;

interface Client {
  /** The token the client holds. */
  token: VerifiedToken;
}

interface World extends ReturnType<typeof world> {}

/** How records come into a store, and whether it has a copy in the process. */
const STORES = {
  'both records at once': PairStore,
  'both records at once, with a near copy': NearPairStore,
  'one record after the other': MemoryStore,
};
type Store = (typeof STORES)[keyof typeof STORES];

function world(Store: Store, hasSource = true) {
  const clock = new FakeClock();
  const store = new Store(clock);
  const state = { plan: 'free' };
  const claims = (_: string, previous: VerifiedToken | undefined) => ({
    ...state,
    tenant: previous?.tenant ?? 'acme',
  });
  const options = {
    accessToken: { expiresIn: '1h' },
    denyList: { claims: ['tenant'] },
    ...(hasSource && { claims }),
  } as const;
  return { clock, store, state, ...assembled(options, { clock, store, deadline: DEADLINE }) };
}

interface Scenario {
  readonly hasSource?: boolean;
  /** Before anything goes wrong. */
  prepare?(world: World, client: Client): Promise<unknown>;
  /** What may go wrong. A token that it delivers is put into the client's hands. */
  run(world: World, client: Client): Promise<unknown>;
  /** What must hold where it ended well, at every later request. */
  confirmed?(world: World, current: VerifiedToken): void;
  /** The client's token works for the rest of its grace period only. */
  readonly inGrace?: boolean;
  /** The session is to end. */
  readonly revokes?: boolean;
}

const deliver = (client: Client, issued: IssuedToken | undefined) => {
  if (issued) client.token = issued.claims;
};

/** A `@ReissuesToken()` request, as guard and interceptor run it. */
async function change(
  { resolver, protocol, tokens, state }: World,
  client: Client,
  changes?: Record<string, unknown>,
) {
  const resolved = await resolver.resolve(client.token, 'leave');
  const commit = await protocol.begin(resolved, 'subject');
  await runInHandlerScope(commit.handler, async () => {
    state.plan = 'premium';
    if (changes) await tokens.reissue(resolved.current, changes);
  });
  await commit.close();
  try {
    deliver(client, await commit.replace());
  } catch (error) {
    if (commit.hasChanges) throw error;
  }
}

const markedStale = async ({ state, tokens }: World) => {
  state.plan = 'premium';
  await tokens.markStale({ sub: 'alice' });
};
const isFresh = (_: World, current: VerifiedToken) => expect(current.plan).toBe('premium');

const SCENARIOS: Record<string, Scenario> = {
  'a log-in': {
    run: async ({ tokens }, client) => deliver(client, await tokens.issue('alice')),
  },
  'a request with an active token': {
    run: async ({ resolver }, client) =>
      deliver(client, (await resolver.resolve(client.token, 'reissue')).issued),
  },
  'a request with a stale token': {
    prepare: markedStale,
    run: async ({ resolver }, client) =>
      deliver(client, (await resolver.resolve(client.token, 'reissue')).issued),
    confirmed: isFresh,
  },
  'a request with a superseded token': {
    inGrace: true,
    prepare: ({ tokens }, { token }) => tokens.reissue(token),
    run: async ({ resolver }, client) =>
      deliver(client, (await resolver.resolve(client.token, 'reissue')).issued),
  },
  'a handler that changes the state': { run: change, confirmed: isFresh },
  'a handler with explicit changes': {
    run: (world, client) => change(world, client, { tenant: 'globex' }),
    confirmed: (_, current) => expect(current).toMatchObject({ plan: 'premium', tenant: 'globex' }),
  },
  'a handler with explicit changes, without a claims source': {
    hasSource: false,
    run: (world, client) => change(world, client, { tenant: 'globex' }),
    confirmed: (_, current) => expect(current.tenant).toBe('globex'),
  },
  'a refresh': {
    prepare: async ({ clock }) => clock.advance(60_000),
    run: async ({ tokens, mint }, client) =>
      deliver(client, await tokens.refresh(mint.sign(client.token).accessToken)),
  },
  'a refresh with a stale token': {
    prepare: markedStale,
    run: async ({ tokens, mint }, client) =>
      deliver(client, await tokens.refresh(mint.sign(client.token).accessToken)),
    confirmed: isFresh,
  },
  'a change from elsewhere': { run: markedStale, confirmed: isFresh },
  'a log-out': {
    run: ({ tokens }, { token }) => tokens.revoke(token),
    revokes: true,
  },
  'a log-out everywhere': {
    run: ({ tokens }) => tokens.revoke({ sub: 'alice' }),
    revokes: true,
  },
  'a tenant that is shut': {
    run: ({ tokens }) => tokens.revoke({ tenant: 'acme' }),
    revokes: true,
  },
  'a log-out of all other devices, from another one': {
    run: async ({ tokens }) => {
      const other = await tokens.issue('alice');
      await tokens.revoke({ sub: 'alice', except: other.claims });
    },
    revokes: true,
  },
  'a log-out of all other devices': {
    run: ({ tokens }, { token }) => tokens.revoke({ sub: 'alice', except: token }),
  },
};

/** Runs a scenario whose n-th operation goes wrong; `undefined` where it has fewer. */
async function attempt(Store: Store, scenario: Scenario, n: number, fault: Fault) {
  const w = world(Store, scenario.hasSource);
  const client: Client = {
    token: (await w.tokens.issue('alice', scenario.hasSource === false ? { tenant: 'acme' } : {}))
      .claims,
  };
  await scenario.prepare?.(w, client);
  const before = w.store.operations.length;
  w.store.onOperation = (operation) => (operation.n - before === n ? fault : undefined);
  const outcome = await ending(scenario.run(w, client));
  w.store.onOperation = () => undefined;
  return w.store.operations.length - before < n ? undefined : { w, client, outcome };
}

/** A later request: what it runs with, or the code it is refused with. */
async function request({ resolver }: World, client: Client): Promise<VerifiedToken | string> {
  let current: VerifiedToken | undefined;
  const code = await ending(
    (async () => {
      const resolved = await resolver.resolve(client.token, 'reissue');
      ({ current } = resolved);
      deliver(client, resolved.issued);
    })(),
  );
  return current ?? code;
}

async function everyFault(
  Store: Store,
  scenario: Scenario,
  check: (run: NonNullable<Awaited<ReturnType<typeof attempt>>>, where: string) => Promise<void>,
  faults: readonly Fault[] = FAULTS,
) {
  for (const fault of faults) {
    for (let n = 1; ; n++) {
      const run = await attempt(Store, scenario, n, fault);
      if (!run) break;
      const { verb, key } = run.w.store.operations.at(-1) ?? {};
      await check(run, `operation ${n} ${fault} (last: ${verb} ${key})`);
    }
  }
}

const CASES = Object.entries(STORES).flatMap(([how, Store]) =>
  Object.entries(SCENARIOS).map(([what, scenario]) => ({ how, what, Store, scenario })),
);

describe.each(CASES)('$what, $how:', ({ Store, scenario }) => {
  it('ends well or with 503', async () => {
    const check = async ({ outcome }: { outcome: string }, where: string) =>
      expect([where, outcome]).toEqual([
        where,
        expect.stringMatching(/^(ok|DENY_LIST_UNAVAILABLE)$/),
      ]);
    await everyFault(Store, scenario, check, [...FAULTS, 'hangs']);
  });

  // What was held back lands before the client comes back, after it has, or never.
  const LANDS = ['before', 'after', 'never'] as const;
  // At once; when the grace period is over and `next` still stands; and much later.
  const RETURNS = scenario.inGrace ? [0] : [0, 33_000, 600_000];
  const when = LANDS.flatMap((lands) => RETURNS.map((returns) => ({ lands, returns })));

  if (!scenario.revokes) {
    it.each(when)(
      'logs nobody out, and takes nothing back: late writes land $lands, back after $returns ms',
      async ({ lands, returns }) => {
        await everyFault(Store, scenario, async ({ w, client, outcome }, where) => {
          if (lands === 'before') w.store.release();
          w.clock.advance(returns);
          for (let again = 0; again < 3; again++) {
            const current = await request(w, client);
            expect([where, current]).toEqual([where, expect.objectContaining({ sub: 'alice' })]);
            if (outcome === 'ok') scenario.confirmed?.(w, current as VerifiedToken);
            if (lands === 'after') w.store.release();
            w.clock.advance(1_000);
          }
        });
      },
    );

    it('leaves the next attempt free to succeed', async () => {
      await everyFault(Store, scenario, async ({ w, client, outcome }, where) => {
        w.store.release();
        if (outcome === 'ok') return;
        const again = await ending(scenario.run(w, client));
        expect([where, again]).toEqual([where, 'ok']);
        const current = await request(w, client);
        expect([where, current]).toEqual([where, expect.objectContaining({ sub: 'alice' })]);
        scenario.confirmed?.(w, current as VerifiedToken);
      });
    });
  } else {
    it.each(when)(
      'is final if it was confirmed: late writes land $lands, back after $returns ms',
      async ({ lands, returns }) => {
        await everyFault(Store, scenario, async ({ w, client, outcome }, where) => {
          if (lands === 'before') w.store.release();
          w.clock.advance(returns);
          for (let again = 0; again < 3; again++) {
            const current = await request(w, client);
            if (outcome === 'ok') expect([where, current]).toEqual([where, 'TOKEN_REVOKED']);
            if (lands === 'after') w.store.release();
          }
        });
      },
    );

    it('is final if it was confirmed at the second attempt', async () => {
      await everyFault(Store, scenario, async ({ w, client, outcome }, where) => {
        if (outcome === 'ok') return;
        expect([where, await ending(scenario.run(w, client))]).toEqual([where, 'ok']);
        w.store.release();
        expect([where, await request(w, client)]).toEqual([where, 'TOKEN_REVOKED']);
      });
    });
  }
});

describe('a store that is down altogether', () => {
  it.each(Object.entries(SCENARIOS))(
    '%s: 503, and everything works when it is back',
    async (_, scenario) => {
      const w = world(PairStore, scenario.hasSource);
      const client = {
        token: (
          await w.tokens.issue('alice', scenario.hasSource === false ? { tenant: 'acme' } : {})
        ).claims,
      };
      await scenario.prepare?.(w, client);
      w.store.onOperation = () => 'lost';
      for (let attempt = 0; attempt < 5; attempt++) {
        expect(await ending(scenario.run(w, client))).toBe('DENY_LIST_UNAVAILABLE');
      }
      w.store.onOperation = () => undefined;
      w.clock.advance(1_000);
      expect(await ending(scenario.run(w, client))).toBe('ok');
      const current = await request(w, client);
      if (scenario.revokes) expect(current).toBe('TOKEN_REVOKED');
      else expect(current).toMatchObject({ sub: 'alice' });
    },
  );

  it('onUnavailable: accept lets requests run, and nothing else', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const { tokens, resolver } = assembled(
      { claims: () => ({}), denyList: { onUnavailable: 'accept' } },
      { clock, store },
    );
    const issued = await tokens.issue('alice');
    store.onOperation = () => 'lost';
    expect(await ending(resolver.resolve(issued.claims, 'reissue'))).toBe('ok');
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
    for (const attempt of [
      () => tokens.issue('alice'),
      () => tokens.begin('alice'),
      () => tokens.reissue(issued.claims),
      () => tokens.refresh(issued.accessToken),
      () => tokens.revoke(issued.claims),
      () => tokens.revoke({ sub: 'alice' }),
      () => tokens.revoke({ sub: 'alice', except: issued.claims }),
      () => tokens.markStale({ sub: 'alice' }),
    ]) {
      expect(await ending(attempt())).toBe('DENY_LIST_UNAVAILABLE');
    }
  });

  it('does not ask the claims source, nor run a handler, before it was asked', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    let asked = 0;
    const { tokens, resolver } = assembled(
      {
        claims: () => {
          asked += 1;
          return {};
        },
      },
      { clock, store },
    );
    const issued = await tokens.issue('alice');
    asked = 0;
    store.onOperation = () => 'lost';
    await ending(tokens.issue('alice'));
    await ending(tokens.refresh(issued.accessToken));
    await ending(resolver.resolve(issued.claims, 'reissue'));
    expect(asked).toBe(0);
  });
});
