/** Where this module reads the time. Replaceable, so that tests need not wait. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };

/**
 * How far apart the clocks of two hosts may be, in milliseconds, before a promise of this module
 * depends on it. Every entry lives that much longer than the tokens it speaks of.
 */
export const CLOCK_SKEW_MS = 5_000;
