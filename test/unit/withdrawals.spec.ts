import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { StoreAnswerError } from '../../lib/deny-list/deny-list.store.js';
import { Withdrawals } from '../../lib/deny-list/withdrawals.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { FakeClock } from '../support/fake-clock.js';
import type { Operation } from '../support/memory-store.js';
import { PairStore } from '../support/pair-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

/*
 * Both records of a succession are one step. Where it was not confirmed, its client keeps its token, and
 * comes back when it likes: so the record that would end that token is taken back, behind the answer.
 */

Logger.overrideLogger(false);

beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate'] }));
afterEach(() => void jest.useRealTimers());

const seconds = (count: number) => jest.advanceTimersByTimeAsync(count * 1_000);

async function world() {
  const clock = new FakeClock();
  const store = new PairStore(clock);
  const options = { claims: () => ({}), refresh: { tokens: {} } } as const;
  const assembly = assembled(options, { clock, store });
  const issued = await assembly.tokens.issue('alice');
  await assembly.tokens.markStale({ sub: 'alice' });
  const keyOf = ({ claims }: IssuedToken) => storeKeys.jti(claims.jti, 'access');
  return {
    clock,
    store,
    issued,
    ...assembly,
    request: () => ending(assembly.resolver.resolve(issued.claims, 'reissue')),
    next: () => store.get(storeKeys.next(issued.claims.jti, 'access')),
    jti: () => store.get(keyOf(issued)),
    removals: () => store.operations.filter(({ verb }) => verb === 'removeIfUnchanged').length,
  };
}
type World = Awaited<ReturnType<typeof world>>;

const isPair = ({ verb }: Operation) => verb === 'writeBothIfAbsent';
const isRemoval = ({ verb }: Operation) => verb === 'removeIfUnchanged';

/** A reissue whose step gets lost in some way. */
async function failed(w: World, how: 'unconfirmed' | 'late' | 'lost'): Promise<void> {
  w.store.onOperation = (operation) => (isPair(operation) ? how : undefined);
  expect(await w.request()).toBe('DENY_LIST_UNAVAILABLE');
  w.store.onOperation = () => undefined;
  await seconds(0);
}

describe('a reissue that is confirmed', () => {
  it('is one step, and takes nothing back', async () => {
    const w = await world();
    const before = w.store.operations.length;
    expect(await w.request()).toBe('ok');
    await seconds(10);
    expect(w.store.operations.slice(before).map(({ verb }) => verb)).toEqual([
      'read',
      'writeBothIfAbsent',
    ]);
    expect(w.jti()).toBeDefined();
  });
});

describe('a reissue that is not confirmed', () => {
  it('though it happened leaves `next` alone, and the grace period to whoever comes first', async () => {
    const w = await world();
    await failed(w, 'unconfirmed');
    expect([w.next() !== undefined, w.jti()]).toEqual([true, undefined]);
    w.clock.advance(31_000);
    expect(await w.request()).toBe('ok');
    w.clock.advance(29_999);
    expect(await w.request()).toBe('ok');
    w.clock.advance(1);
    expect(await w.request()).toBe('TOKEN_SUPERSEDED');
  });

  it('and happens after it was taken back is taken back again', async () => {
    const w = await world();
    w.store.onOperation = (operation) => (isPair(operation) ? 'late' : undefined);
    // Over a broken connection: what takes it back comes over another one.
    const release = w.store.release.bind(w.store);
    w.store.removeIfUnchanged = async (key, expected) => {
      const isMine = w.store.get(key) === expected;
      if (isMine) w.store.entries.delete(key);
      return isMine;
    };
    expect(await w.request()).toBe('DENY_LIST_UNAVAILABLE');
    w.store.onOperation = () => undefined;
    await seconds(0);
    release();
    expect(w.jti()).toBeDefined();
    await seconds(2);
    expect([w.next() !== undefined, w.jti()]).toEqual([true, undefined]);
  });

  it('takes it back until that is confirmed, and then once more', async () => {
    const w = await world();
    w.store.onOperation = (operation) => {
      if (isPair(operation)) return 'unconfirmed';
      return isRemoval(operation) ? 'lost' : undefined;
    };
    await w.request();
    await seconds(30);
    expect(w.jti()).toBeDefined();
    const tried = w.removals();
    expect(tried).toBeGreaterThan(20);
    expect(tried).toBeLessThanOrEqual(31);
    w.store.onOperation = () => undefined;
    await seconds(1);
    expect(w.jti()).toBeUndefined();
    await seconds(60);
    expect(w.removals()).toBe(tried + 2);
  });

  it('takes it back though the breaker has opened at that moment', async () => {
    const w = await world();
    const { snapshot } = await w.denyList.lookInStore(w.issued.claims);
    // A write and a question: two failures.
    w.store.onOperation = () => 'lost';
    await ending(w.tokens.revoke({ sub: 'bob' }));
    w.store.onOperation = (operation) => (isPair(operation) ? 'unconfirmed' : undefined);
    const request = { why: 'stale', renew: false } as const;
    const third = w.reissuer.succeed(w.issued.claims, snapshot, request);
    expect(await ending(third)).toBe('DENY_LIST_UNAVAILABLE');
    expect(await ending(w.tokens.verify(w.issued.accessToken))).toBe('DENY_LIST_UNAVAILABLE');
    expect([w.next() !== undefined, w.jti()]).toEqual([true, undefined]);
  });

  it('and cannot be taken back keeps the breaker from nothing', async () => {
    const w = await world();
    w.store.onOperation = (operation) => (isRemoval(operation) ? 'lost' : undefined);
    await failed(w, 'unconfirmed');
    await seconds(30);
    expect(await ending(w.tokens.verify(w.issued.accessToken))).toBe('ok');
  });

  it('does not take back what somebody has written who met `next` alone', async () => {
    const w = await world();
    await failed(w, 'unconfirmed');
    expect(await w.request()).toBe('ok');
    const standing = w.jti();
    expect(standing).toBeDefined();
    await seconds(10);
    expect(w.jti()).toBe(standing);
  });

  it('does not take back what another reissue has written', async () => {
    const w = await world();
    await failed(w, 'lost');
    expect(await w.request()).toBe('ok');
    const standing = w.jti();
    expect(standing).toBeDefined();
    await seconds(10);
    expect(w.jti()).toBe(standing);
  });

  it('is over with the application', async () => {
    const w = await world();
    w.store.onOperation = (operation) => (isRemoval(operation) ? 'lost' : undefined);
    await failed(w, 'unconfirmed');
    w.denyList.close();
    const before = w.removals();
    await seconds(60);
    expect(w.removals()).toBe(before);
    w.store.onOperation = (operation) => (isPair(operation) ? 'unconfirmed' : undefined);
    await w.request();
    expect(w.removals()).toBe(before);
  });

  it.each([
    [
      'was not even asked for, because the store is left alone',
      async (w: World) => {
        w.store.onOperation = () => 'lost';
        for (let call = 0; call < 3; call++) await ending(w.tokens.revoke({ sub: 'bob' }));
      },
    ],
    [
      'was refused by the store',
      async (w: World) => {
        w.store.onOperation = (operation) => {
          if (isPair(operation)) throw new StoreAnswerError('It may not use EVAL.');
          return undefined;
        };
      },
    ],
  ])('and %s has nothing to take back', async (_, prepare) => {
    const w = await world();
    const { snapshot } = await w.denyList.lookInStore(w.issued.claims);
    await prepare(w);
    const request = { why: 'stale', renew: false } as const;
    const attempt = w.reissuer.succeed(w.issued.claims, snapshot, request);
    expect(await ending(attempt)).toBe('DENY_LIST_UNAVAILABLE');
    await seconds(10);
    expect(w.removals()).toBe(0);
  });

  it('of a refresh token takes nothing back: that leads on for as long as it lives', async () => {
    const w = await world();
    w.store.onOperation = (operation) => (isPair(operation) ? 'unconfirmed' : undefined);
    const refresh = () => ending(w.tokens.refresh(w.issued.refreshToken as string));
    expect(await refresh()).toBe('DENY_LIST_UNAVAILABLE');
    await seconds(10);
    expect(w.removals()).toBe(0);
    w.store.onOperation = () => undefined;
    w.clock.advance(3_600_000);
    expect(await refresh()).toBe('ok');
  });
});

describe('what is to be taken back', () => {
  function withdrawals() {
    const asked: string[] = [];
    const made = new Withdrawals(async (key) => {
      asked.push(key);
      throw new Error('no answer');
    });
    return { made, asked };
  }

  it('is tried for two minutes', async () => {
    const { made, asked } = withdrawals();
    made.begin({ key: 'a', value: '1' });
    await seconds(110);
    expect(made.size).toBe(1);
    await seconds(20);
    expect(made.size).toBe(0);
    const tried = asked.length;
    await seconds(60);
    expect(asked).toHaveLength(tried);
  });

  it('is asked for once a second by all together, while the store does not answer', async () => {
    const { made, asked } = withdrawals();
    for (let n = 0; n < 500; n++) made.begin({ key: `${n}`, value: '1' });
    expect(asked).toHaveLength(500);
    await seconds(10);
    expect(asked.length).toBeLessThanOrEqual(510);
  });

  it('is not more than a process can bear', async () => {
    const { made } = withdrawals();
    for (let n = 0; n < 10_050; n++) made.begin({ key: `${n}`, value: '1' });
    expect(made.size).toBe(10_000);
  });
});
