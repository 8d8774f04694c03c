import type { Clock } from '../clock.js';
import { type Duration, toMilliseconds } from '../duration.js';

/**
 * A clock for the application under test. It shows the real time, and as much more of it as a test
 * would otherwise have to wait for; once it was set or stopped, only {@link advance} moves it.
 *
 * Everything this module does goes by it: `exp`, grace periods, ages, deadlines of handlers, the
 * circuit breaker, and the entries of a `TestDenyList`. What waits for an answer (`lookupTimeout`,
 * `claimsTimeout`) waits in real time.
 *
 * @example
 * ```ts
 * const clock = new TestClock();
 * const module = await overrideJwtState(Test.createTestingModule({ imports: [AppModule] }), { clock }).compile();
 * clock.advance('31s'); // the grace period is over
 * ```
 *
 * @publicApi
 */
export class TestClock implements Clock {
  private ahead = 0;
  private stoppedAt: number | undefined;

  /** @param at where it stands still; without it, it runs with the real time */
  constructor(at?: Date | string | number) {
    if (at !== undefined) this.set(at);
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return (this.stoppedAt ?? Date.now()) + this.ahead;
  }

  /**
   * `clock.advance('5m')`; a number counts in seconds, as in the module's options. `'-3s'` puts it back,
   * as when a host's clock is corrected.
   *
   * @throws JwtStateConfigError for what is no duration
   */
  advance(duration: Duration): void {
    const text = typeof duration === 'number' ? `${duration}s` : duration;
    const isBack = text.startsWith('-');
    const length = (isBack ? text.slice(1) : text) as Duration;
    this.ahead += (isBack ? -1 : 1) * toMilliseconds('TestClock.advance', length, 0);
  }

  /**
   * Stands still at this time from now on, which may lie in the past.
   *
   * @param time a date, its text (`'2030-01-01T12:00:00Z'`), or milliseconds since the epoch
   * @throws RangeError where that is no time
   */
  set(time: Date | string | number): void {
    const milliseconds = new Date(time).getTime();
    if (Number.isNaN(milliseconds)) throw new RangeError('TestClock.set: this is not a time.');
    this.stoppedAt = milliseconds;
    this.ahead = 0;
  }

  /** Stands still where it is. */
  stop(): void {
    this.set(this.now());
  }

  /** Runs with the real time again: for `afterEach`. */
  reset(): void {
    this.stoppedAt = undefined;
    this.ahead = 0;
  }
}
