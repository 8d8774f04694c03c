import { CLOCK_SKEW_MS } from '../clock.js';
import type { VerifiedToken } from '../token/verified-token.js';

/**
 * On top of every lifetime: the skew twice, since issuer, writer and the reader that finds a record expired
 * may be three hosts; and a second for `exp` in whole seconds.
 */
export const MARGIN_MS = 2 * CLOCK_SKEW_MS + 1_000;

export interface LifetimeSettings {
  /** All in ms. */
  readonly accessTokenLifetime: number;
  readonly clockTolerance: number;
  readonly gracePeriod: number;
  readonly handlerTimeout: number;
  readonly claimsTimeout: number;
}

/** How long records are kept. Each outlives every token it speaks of. */
export class Lifetimes {
  constructor(private readonly settings: LifetimeSettings) {}

  /** Of a session's state without marks, in ms. */
  session(now: number, tokens: readonly VerifiedToken[]): number {
    return this.until(now, tokens, now + this.settings.accessTokenLifetime);
  }

  /** Of the uses of refresh tokens without choices, in ms. */
  history(now: number, tokens: readonly VerifiedToken[]): number {
    return this.until(now, tokens, now);
  }

  /** Of the tip: a reissue that takes its time must still find it. */
  get tip(): number {
    const { gracePeriod, handlerTimeout, claimsTimeout } = this.settings;
    return gracePeriod + handlerTimeout + claimsTimeout + MARGIN_MS;
  }

  /** Of a mark, for tokens that live as long as this. */
  mark(longestLifetime: number): number {
    return longestLifetime + this.settings.clockTolerance + MARGIN_MS;
  }

  private until(now: number, tokens: readonly VerifiedToken[], least: number): number {
    const end = Math.max(least, ...tokens.map(({ exp }) => exp * 1000));
    return end - now + this.settings.clockTolerance + MARGIN_MS;
  }
}
