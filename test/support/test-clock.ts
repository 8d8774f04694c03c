import ms, { type StringValue } from 'ms';
import type { Clock } from 'nestjs-jwt-state';

/** The real time, and as much more of it as a test would otherwise have to wait for. */
export class TestClock implements Clock {
  private ahead = 0;
  private stoppedAt: number | undefined;

  now(): number {
    return (this.stoppedAt ?? Date.now()) + this.ahead;
  }

  /** From now on only `advance` moves it. */
  stop(): void {
    this.stoppedAt = Date.now();
  }

  /** `clock.advance('31s')` */
  advance(duration: StringValue): void {
    this.ahead += ms(duration);
  }

  reset(): void {
    this.ahead = 0;
    this.stoppedAt = undefined;
  }
}
