import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  currentOf,
  type Generations,
  latestOf,
  overtakenSince,
  pruned,
  withArrival,
  withReplacement,
} from '../../../lib/state/generations.js';

const T = 1_800_000_000_000;
const GRACE = 30_000;
const arrived = (n: number, at: number) => ({ n, at: T + at, arrived: true });
const made = (n: number, at: number) => ({ n, at: T + at, arrived: false });

describe('A replacement', () => {
  it('ends nothing before it has arrived', () => {
    const generations = withReplacement([], made(1, 0), T, GRACE);
    expect(currentOf(generations)).toBe(1);
    expect(overtakenSince(generations, 0)).toBeUndefined();
  });

  it('begins the grace period of everything before it when it arrives', () => {
    const generations = withArrival([arrived(1, 0), made(2, 5)], 2, T + 9);
    expect(generations).toEqual([arrived(1, 0), arrived(2, 9)]);
    expect(overtakenSince(generations, 0)).toBe(T);
    expect(overtakenSince(generations, 1)).toBe(T + 9);
    expect(overtakenSince(generations, 2)).toBeUndefined();
  });

  it('takes the place of one that never arrived', () => {
    expect(withReplacement([arrived(1, 0), made(2, 5)], made(3, 9), T + 9, GRACE)).toEqual([
      arrived(1, 0),
      made(3, 9),
    ]);
  });

  it('arrives no earlier than what is known already, whatever the clock says', () => {
    expect(withArrival([made(1, 50)], 1, T)).toEqual([arrived(1, 50)]);
  });

  it.each([
    ['the first token of the session', [made(1, 0)], 0],
    ['one that is known', [arrived(1, 0)], 1],
    ['one before another that is known', [arrived(2, 0)], 1],
  ])('is noted once: %s', (_, generations, n) => {
    expect(withArrival(generations, n, T + 99)).toBe(generations);
  });
});

describe('What is kept of the generations', () => {
  it('is the newest older arrival, without which a token that is over would run again', () => {
    const list = [arrived(1, 0), arrived(2, 1_000), made(3, 90_000)];
    const kept = pruned(list, T + 90_000, GRACE);
    expect(kept).toEqual([arrived(2, 1_000), made(3, 90_000)]);
    expect(overtakenSince(kept, 0)).toBe(T + 1_000);
  });

  it('is one entry for those that arrived together: the later generation, the older time', () => {
    const list = [
      arrived(1, 0),
      arrived(2, 500),
      arrived(3, 999),
      arrived(4, 1_000),
      made(5, 1_001),
    ];
    expect(pruned(list, T + 2_000, GRACE)).toEqual([
      arrived(3, 0),
      arrived(4, 1_000),
      made(5, 1_001),
    ]);
  });

  it('is the last entry with its own time', () => {
    const list = [arrived(1, 0), arrived(2, 1)];
    expect(latestOf(pruned(list, T + 2, GRACE))).toBe(T + 1);
  });

  const history = fc
    .array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 200 })
    .map((steps) => {
      let now = T;
      let generations: Generations = [];
      const times = new Map<number, number>();
      for (const [index, step] of steps.entries()) {
        now += step;
        generations = withReplacement(
          generations,
          { n: index + 1, at: now, arrived: true },
          now,
          GRACE,
        );
        times.set(index + 1, now);
      }
      return { now, generations, times };
    });

  it('is 32 entries at most, however many there were', () => {
    fc.assert(
      fc.property(history, ({ generations }) => {
        expect(generations.length).toBeLessThanOrEqual(32);
      }),
    );
  });

  it('says of every token what all of it would have said, up to a second sooner', () => {
    fc.assert(
      fc.property(history, ({ now, generations, times }) => {
        for (let n = 0; n < times.size; n++) {
          const truth = (times.get(n + 1) as number) + GRACE;
          const since = overtakenSince(generations, n) as number;
          const isOver = now >= since + GRACE;
          if (now >= truth) expect(isOver).toBe(true);
          if (now < truth - GRACE / 30) expect(isOver).toBe(false);
        }
      }),
    );
  });
});
