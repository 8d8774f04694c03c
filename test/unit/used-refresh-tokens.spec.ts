import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { Latch } from '../support/latch.js';
import { type Fault, MemoryStore } from '../support/memory-store.js';
import { PairStore } from '../support/pair-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

/*
 * What leads from a used refresh token to its successor is needed as long as the successor may have been
 * lost on its way. Once that was used it has arrived, and only that the token was used has to be known.
 */

Logger.overrideLogger(false);

const GRACE = 30_000;
const MINUTE = 60_000;
const LIFETIME = 24 * 60 * MINUTE;
/** Handler, source, grace period, 11 s. */
const NEXT = 106_000;
/** How long after `exp` records stay: tolerance and 11 s. */
const BEYOND = 16_000;

const clock = new FakeClock();
let store: PairStore;

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new PairStore(clock);
});

const OPTIONS = {
  refresh: { tokens: { expiresIn: '1d' } },
  claims: () => ({ plan: 'free' }),
} as const;
const service = (on: MemoryStore = store, options: Partial<JwtStateOptions> = {}) =>
  assembled({ ...OPTIONS, ...options }, { clock, store: on });
const textOf = ({ refreshToken }: IssuedToken) => refreshToken as string;
const idOf = ({ refreshClaims }: IssuedToken) => refreshClaims?.jti as string;
const nextOf = (issued: IssuedToken) => storeKeys.next(idOf(issued), 'refresh');
const jtiOf = (issued: IssuedToken) => storeKeys.jti(idOf(issued), 'refresh');
const use = ({ tokens }: Assembly, issued: IssuedToken) => tokens.refresh(textOf(issued));
/** How long something stays, in ms. */
const left = (key: string, of: MemoryStore = store) =>
  (of.entries.get(key)?.expires ?? Number.NaN) - clock.now();

/** A log-in, and two uses with some time between them. */
async function usedTwice(assembly: Assembly, apart = 10 * MINUTE) {
  const first = await assembly.tokens.issue('alice');
  clock.advance(apart);
  const second = await use(assembly, first);
  clock.advance(apart);
  const third = await use(assembly, second);
  return [first, second, third] as const;
}

describe('what leads from a used refresh token to its successor', () => {
  it('is kept as long as the token while the successor is not used', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    const second = await use(assembly, first);
    expect(left(nextOf(first))).toBe(LIFETIME + BEYOND);
    // To be told of it again is no use of it.
    clock.advance(10 * MINUTE);
    await use(assembly, first);
    expect(left(nextOf(first))).toBe(LIFETIME + BEYOND - 10 * MINUTE);
    clock.advance(LIFETIME - 20 * MINUTE);
    expect(idOf(await use(assembly, first))).toBe(idOf(second));
  });

  it('ends soon after that was used; that it was used is known as long as the token lives', async () => {
    const [first, second] = await usedTwice(service());
    expect(left(nextOf(first))).toBe(NEXT);
    expect(left(jtiOf(first))).toBe(LIFETIME + BEYOND - 20 * MINUTE);
    expect(left(nextOf(second))).toBe(LIFETIME + BEYOND - 10 * MINUTE);
  });

  it('does not end later, where it would have ended sooner', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    clock.advance(LIFETIME - 10_000);
    const second = await use(assembly, first);
    const before = left(nextOf(first));
    expect(before).toBeLessThan(NEXT);
    await use(assembly, second);
    expect(left(nextOf(first))).toBe(before);
  });

  it('leads on in the grace period, whatever was used meanwhile', async () => {
    const assembly = service();
    const [first, second, third] = await usedTwice(assembly, 1_000);
    const fourth = await use(assembly, third);
    clock.advance(GRACE - 2_000);
    expect(idOf(await use(assembly, first))).toBe(idOf(fourth));
    expect(idOf(await use(assembly, second))).toBe(idOf(fourth));
  });

  it('is not missed: reuse ends the session before and after', async () => {
    for (const later of [GRACE, NEXT - 1, NEXT, NEXT + 1, LIFETIME - 25 * MINUTE]) {
      const assembly = service();
      const events: unknown[] = [];
      assembly.events.on('refresh-reuse', ({ jti }) => void events.push(jti));
      const [first, , third] = await usedTwice(assembly);
      clock.advance(later);
      expect(await ending(use(assembly, first))).toBe('INVALID_GRANT');
      expect(events).toEqual([idOf(first)]);
      expect(await ending(use(assembly, third))).toBe('INVALID_GRANT');
    }
  });

  it('stays where it is the only record of the use: the token would be valid again', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    const second = await use(assembly, first);
    store.entries.delete(jtiOf(first));
    await use(assembly, second);
    expect(left(nextOf(first))).toBe(LIFETIME + BEYOND);
  });

  it('stays where the use has failed: that is none', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    const second = await use(assembly, first);
    store.onOperation = ({ verb }) => (verb === 'writeBothIfAbsent' ? 'lost' : undefined);
    expect(await ending(use(assembly, second))).toBe('DENY_LIST_UNAVAILABLE');
    expect(left(nextOf(first))).toBe(LIFETIME + BEYOND);
  });

  it('stays where it leads to another successor, of a store that was emptied', async () => {
    const assembly = service(store, { denyList: { onLoss: 'reissue' } });
    const first = await assembly.tokens.issue('alice');
    const second = await use(assembly, first);
    store.clear();
    const other = await use(assembly, first);
    await use(assembly, second);
    expect(left(nextOf(first))).toBe(LIFETIME + BEYOND);
    clock.advance(NEXT);
    expect(idOf(await use(assembly, first))).toBe(idOf(other));
  });

  it.each([
    ['in the grace period', 0],
    ['after it', 10 * MINUTE],
  ])('is no sign of reuse where it is lost, or nobody can read it: %s', async (_, later) => {
    const entry = (value: string) => ({ value, expires: clock.now() + LIFETIME });
    for (const harm of [
      (key: string) => store.entries.delete(key),
      (key: string) => store.entries.set(key, entry('unreadable')),
    ]) {
      const assembly = service();
      const first = await assembly.tokens.issue('alice');
      const second = await use(assembly, first);
      clock.advance(later);
      harm(nextOf(first));
      expect(await ending(use(assembly, first))).toBe('INVALID_GRANT');
      expect(await ending(use(assembly, second))).toBe('ok');
    }
  });

  it('does not hide reuse where it comes too late: a write that nobody waits for', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    store.onOperation = ({ verb }) => (verb === 'writeBothIfAbsent' ? 'late' : undefined);
    expect(await ending(use(assembly, first))).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    const third = await use(assembly, await use(assembly, first));
    clock.advance(NEXT);
    store.release();
    expect(store.get(nextOf(first))).toBeUndefined();
    expect(await ending(use(assembly, first))).toBe('INVALID_GRANT');
    expect(await ending(use(assembly, third))).toBe('INVALID_GRANT');
  });

  it('does not hide reuse where it comes too late: a source that took its time', async () => {
    const asked = new Latch('the source is asked');
    const answers = new Latch('it answers');
    let isSlow = true;
    const claims = async () => {
      if (isSlow) {
        isSlow = false;
        asked.open();
        await answers.reached();
      }
      return { plan: 'free' };
    };
    const { tokens } = service();
    const assembly = service(store, { claims, reissue: { claimsTimeout: '5m' } });
    const first = await tokens.issue('alice');
    const slow = ending(use(assembly, first));
    await asked.reached();
    const third = await use(assembly, await use(assembly, first));
    clock.advance(20 * MINUTE);
    answers.open();
    expect(await slow).toBe('INVALID_GRANT');
    expect(await ending(use(assembly, first))).toBe('INVALID_GRANT');
    expect(await ending(use(assembly, third))).toBe('INVALID_GRANT');
  });

  it.each<Fault>(['lost', 'unconfirmed', 'hangs', 'late'])(
    'is nothing anybody waits for: %s',
    async (fault) => {
      store.onOperation = ({ verb }) => (verb === 'conclude' ? fault : undefined);
      const assembly = service();
      const [first, , third] = await usedTwice(assembly);
      store.release();
      store.onOperation = () => undefined;
      expect(await ending(use(assembly, third))).toBe('ok');
      clock.advance(NEXT);
      expect(await ending(use(assembly, first))).toBe('INVALID_GRANT');
      expect(await ending(use(assembly, third))).toBe('INVALID_GRANT');
    },
  );

  it('stays as long as the token in a store that cannot end it sooner', async () => {
    const plain = new MemoryStore(clock);
    const assembly = service(plain);
    const [first, , third] = await usedTwice(assembly);
    expect(left(nextOf(first), plain)).toBe(LIFETIME + BEYOND - 20 * MINUTE);
    clock.advance(GRACE);
    expect(await ending(use(assembly, first))).toBe('INVALID_GRANT');
    expect(await ending(use(assembly, third))).toBe('INVALID_GRANT');
  });

  it('is named by its successor, and by nothing else that comes from it', async () => {
    const [first, second, third] = await usedTwice(service());
    const { seen } = third.refreshClaims ?? {};
    expect(first.refreshClaims?.seen.prev).toBeUndefined();
    expect([second.refreshClaims?.seen.prev, seen?.prev]).toEqual([idOf(first), idOf(second)]);
    for (const { claims } of [first, second, third]) expect(claims.seen).not.toHaveProperty('prev');
  });
});
