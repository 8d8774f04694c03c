import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { PageStorage } from '../support/browser-parts.js';
import { sessionIn, type Tab, TabWorld } from '../support/tab-world.js';

/*
 * What docs/17-client.md says under "How tabs stay in step", for tabs that do as they like: the client's own
 * code, a channel and a server whose answers and messages arrive whenever the test says.
 */

const ACTS = [
  'log in',
  'sign in',
  'log in and sign in',
  'log in and sign in',
  'sign out',
  'refresh',
  'reload',
  'freeze',
  'wake',
  'answer',
  'deliver',
  'deliver',
  'deliver',
  'forget',
  'poison',
] as const;

const step = fc.record({
  act: fc.constantFrom(...ACTS),
  who: fc.nat(2),
  choice: fc.nat(20),
  /** Milliseconds: often the same one. */
  time: fc.nat(2),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

describe('Tabs that sign in, sign out, refresh, sleep and are loaded anew', () => {
  let world: TabWorld;

  beforeEach(() => {
    // What a promise waits for goes on by itself.
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
  });
  afterEach(() => {
    world.end();
    jest.useRealTimers();
  });

  /** The first that is wrong, or nothing. */
  async function run(steps: readonly Step[], storage: PageStorage | undefined) {
    world = new TabWorld(storage);
    for (let count = 0; count < 3; count++) world.open();
    const seen = new Map<Tab, number>();
    const asked: Promise<unknown>[] = [];

    const ageOf = (sid: string) =>
      sid === world.pending?.sid ? Number.POSITIVE_INFINITY : world.history.lastIndexOf(sid);
    const check = (held: Map<Tab, string | undefined>) => {
      for (const tab of world.tabs) {
        const sid = sessionIn(tab);
        if (sid !== undefined) {
          expect(ageOf(sid)).toBeGreaterThanOrEqual(seen.get(tab) ?? -1);
          if (sid !== world.pending?.sid) seen.set(tab, ageOf(sid));
        }
        // Whoever holds the last session that began keeps it, whatever the others do.
        const former = held.get(tab);
        if (former !== undefined && former === world.history.at(-1) && world.cookie === former)
          expect(sid).toBe(former);
      }
    };

    for (const { act, who, choice, time } of steps) {
      const tab = world.tabs[who] as Tab;
      const before = new Map(world.tabs.map((one) => [one, sessionIn(one)]));
      await world.pass(time);
      const isAwake = !tab.isFrozen;
      if (act.startsWith('log in') && isAwake) world.logIn(tab);
      if (act.endsWith('sign in')) {
        const { pending } = world;
        world.signIn();
        if (pending && world.tabs.includes(pending.tab))
          expect(sessionIn(pending.tab)).toBe(pending.sid);
      }
      if (act === 'sign out' && isAwake) world.signOut(tab);
      if (act === 'refresh' && isAwake) asked.push(Promise.resolve(tab.renew(true, true)));
      if (act === 'reload' && world.pending?.tab !== tab) world.open(who);
      if (act === 'freeze' && world.pending?.tab !== tab) tab.isFrozen = true;
      if (act === 'wake') world.wake(tab);
      if (act === 'answer') world.answer(choice);
      if (act === 'deliver') world.deliver(choice);
      if (act === 'forget') storage?.items.clear();
      if (act === 'poison') poison(tab, choice, storage);
      await world.pass(0);
      check(before);
    }

    // In the end all are awake, and everything has arrived.
    world.signIn();
    for (const tab of world.tabs) world.wake(tab);
    await world.settle();
    const last = world.history.at(-1);
    const knows = world.tabs.some((tab) => sessionIn(tab) === last);
    if (last && knows) expect(world.tabs.map(sessionIn)).toEqual([last, last, last]);
    // And when each has asked for its cookie, nobody is a former user.
    for (const tab of world.tabs) {
      void tab.renew(true, true);
      await world.settle();
    }
    const mine = world.cookie;
    expect(world.tabs.map(sessionIn).filter((sid) => sid !== undefined && sid !== mine)).toEqual(
      [],
    );
    await Promise.all(asked);
  }

  function poison(tab: Tab, choice: number, storage: PageStorage | undefined) {
    const turn = [2 ** 53 - 1, 2 ** 52, 1e300, Number.POSITIVE_INFINITY, 10n, '5'][choice % 6];
    const loop: Record<string, unknown> = { turn, at: 5, access: 'e30.e30.x', life: 5n };
    loop.loop = loop;
    tab.channel.onmessage?.({ data: { session: loop, isHello: 1n } });
    tab.channel.onmessage?.({ data: { session: { turn, at: 1, out: 'SIGNED_OUT' } } });
    if (typeof turn === 'number')
      storage?.setItem('world', JSON.stringify({ turn, at: 5, out: 'X' }));
  }

  // --- what was wrong once ----------------------------------------------------------------------

  async function open(count = 2): Promise<Tab[]> {
    world = new TabWorld(undefined);
    return Array.from({ length: count }, () => world.open());
  }
  function signIn(tab: Tab): string {
    world.logIn(tab);
    world.signIn();
    return sessionIn(tab) ?? '';
  }

  it('tell a tab that was loaded anew what it has missed, and hear what it says', async () => {
    const [one] = (await open()) as [Tab, Tab];
    const alice = signIn(one);
    const two = world.open(1);
    await world.settle();
    expect(sessionIn(two)).toBe(alice);
    world.signOut(two);
    await world.settle();
    expect(sessionIn(one)).toBeUndefined();
    expect(one.signedOut).toEqual(['SIGNED_OUT']);
  });

  it('follow a new user in a tab that knew nothing of the former one', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    for (let time = 0; time < 5; time++) signIn(one);
    world.letters.length = 0;
    await world.pass(10);
    const bob = signIn(two);
    await world.settle();
    expect(world.tabs.map(sessionIn)).toEqual([bob, bob]);
  });

  it('let a former user get a new token, and the new user stays', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    signIn(one);
    const former = one.held.sync();
    await world.pass(1);
    const bob = signIn(two);
    // The messages to it are late, and the response of a request that was sent before.
    one.held.adopt(former, { access: world.tokenOf(sessionIn(one) ?? ''), at: Date.now() });
    await world.settle();
    expect(world.tabs.map(sessionIn)).toEqual([bob, bob]);
  });

  it('end the session of an old tab, and not that of the new user', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    signIn(one);
    await world.settle();
    one.isFrozen = true;
    await world.pass(1);
    const bob = signIn(two);
    while (world.letters.length > 0) world.deliver(0);
    one.isFrozen = false;
    void one.renew(true);
    await world.pass(5);
    world.answer(0);
    await world.pass(0);
    expect(one.signedOut).toEqual(['SESSION_REPLACED']);
    await world.settle();
    expect(two.signedOut).toEqual([]);
    expect(world.tabs.map(sessionIn)).toEqual([bob, bob]);
  });

  it('do not end a session because its former token was refused', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    const alice = signIn(one);
    await world.settle();
    const former = one.held.sync();
    two.held.adopt(former, { access: world.tokenOf(alice), at: Date.now() });
    one.held.end(former, 'TOKEN_SUPERSEDED');
    await world.settle();
    expect(world.tabs.map(sessionIn)).toEqual([alice, alice]);
    expect(two.signedOut).toEqual([]);
  });

  it('do not sign a visitor in by what came before a sign-out', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    signIn(one);
    const [late] = world.letters.filter(({ to }) => to === two.channel);
    world.letters.length = 0;
    await world.pass(1);
    world.signOut(one);
    await world.settle();
    two.channel.onmessage?.({ data: late?.data });
    expect(sessionIn(two)).toBeUndefined();
    expect(two.signedOut).toEqual([]);
  });

  it('find a session in the cookie although an old tab has signed out', async () => {
    const [one] = (await open(1)) as [Tab];
    signIn(one);
    world.signOut(one);
    await world.settle();
    // A log-in that ends in a redirect: the page begins with its cookie.
    world.logIn(one);
    const two = world.open(1);
    await world.settle();
    void two.renew(false);
    await world.settle();
    expect(sessionIn(two)).toBe(world.cookie);
    expect(sessionIn(one)).toBe(world.cookie);
  });

  it('keep the newer token of a session that began anew elsewhere', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    const alice = signIn(one);
    world.letters.length = 0;
    void two.renew(false);
    await world.pass(1);
    world.answer(0);
    await world.pass(0);
    const newer = world.tokenOf(alice);
    one.held.adopt(one.held.sync(), { access: newer, at: Date.now() });
    await world.settle();
    expect(world.tabs.map(({ held }) => held.sync().access)).toEqual([newer, newer]);
  });

  it.each([2 ** 53 - 1, 2 ** 52, Date.UTC(2200, 0)])(
    'sign in though %d is said to be a turn',
    async (turn) => {
      for (const storage of [undefined, new PageStorage()]) {
        storage?.setItem('world', JSON.stringify({ turn, at: 1, out: 'SIGNED_OUT' }));
        world = new TabWorld(storage);
        const [one, two] = [world.open(), world.open()] as const;
        const say = () => {
          for (const { channel } of world.tabs)
            channel.onmessage?.({ data: { session: { turn, at: 1, out: 'SIGNED_OUT' } } });
        };
        say();
        const alice = signIn(one);
        expect(alice).not.toBe('');
        say();
        await world.settle();
        expect([sessionIn(one), sessionIn(two)]).toEqual([alice, alice]);
        const bob = signIn(two);
        await world.settle();
        expect([sessionIn(one), sessionIn(two)]).toEqual([bob, bob]);
        world.end();
      }
    },
  );

  it('follow a new user though the clock was set back', async () => {
    const [one, two] = (await open()) as [Tab, Tab];
    signIn(one);
    await world.settle();
    jest.setSystemTime(Date.now() - 3_600_000);
    const bob = signIn(two);
    await world.settle();
    expect(world.tabs.map(sessionIn)).toEqual([bob, bob]);
    world.signOut(one);
    await world.settle();
    expect(world.tabs.map(sessionIn)).toEqual([undefined, undefined]);
  });

  it.each([
    ['in memory', false],
    ['in a storage', true],
  ])(
    'never go back to a former user, nor sign out a new one: %s',
    async (_, isStored) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }),
          async (steps) => {
            try {
              await run(steps, isStored ? new PageStorage() : undefined);
            } finally {
              world.end();
              jest.clearAllTimers();
            }
          },
        ),
        { numRuns: 60 },
      );
    },
    120_000,
  );
});
