/** How many calls in a row must fail before what they go to is left alone. */
const FAILURES_TO_OPEN = 3;
/** How long it is left alone, in ms, until one call may try again. */
const OPEN_FOR_MS = 1_000;

/** A circuit breaker: what hangs costs a deadline now and then, and not one for every request. */
export class Breaker {
  private failures = 0;
  private retryAt = 0;
  private isProbing = false;

  /** @param now in ms */
  constructor(private readonly now: () => number) {}

  /** Open: fail at once. Half open: let what is asked now through, and keep the others out. */
  isShut(): boolean {
    if (this.failures < FAILURES_TO_OPEN) return false;
    const now = this.now();
    const wait = this.retryAt - now;
    // Longer than ever set: the clock was put back, and must not keep it shut.
    if (wait > 0 && wait <= OPEN_FOR_MS) return !this.isProbing;
    this.retryAt = now + OPEN_FOR_MS;
    // Some questions are two calls, made in one breath.
    this.isProbing = true;
    queueMicrotask(() => {
      this.isProbing = false;
    });
    return false;
  }

  succeeded(): void {
    this.failures = 0;
  }

  /** @returns whether it is open now */
  failed(): boolean {
    this.failures += 1;
    this.retryAt = this.now() + OPEN_FOR_MS;
    return this.failures >= FAILURES_TO_OPEN;
  }
}
