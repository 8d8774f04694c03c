import type { Clock } from '../../lib/clock.js';

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  constructor(public time = 1_800_000_000_000) {}

  now(): number {
    return this.time;
  }

  advance(milliseconds: number): void {
    this.time += milliseconds;
  }

  /** The clock of another host, so many milliseconds ahead of this one. */
  ahead(milliseconds: number): Clock {
    return { now: () => this.time + milliseconds };
  }
}
