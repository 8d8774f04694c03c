/** So long a connection may leave everything unanswered, in ms. */
const LONGEST_MS = 5_000;
const LOOK_EVERY_MS = 1_000;

/**
 * Notices a connection over which nothing comes any more. Where a network swallows packets, nobody
 * closes it: the system goes on sending for a quarter of an hour, though a new connection would
 * work.
 */
export class Silence {
  private waiting = 0;
  private since = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly noticed: () => void) {}

  start(): void {
    this.timer ??= setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Sends something and waits for its answer. */
  async over<T>(send: () => Promise<T>): Promise<T> {
    if (this.waiting === 0) this.since = performance.now();
    this.waiting += 1;
    try {
      const answer = await send();
      this.since = performance.now();
      return answer;
    } finally {
      // A failure was not heard: it may be that of a full queue.
      this.waiting -= 1;
    }
  }

  private look(): void {
    if (!this.isTooLong()) return;
    // Answers may lie in the socket while this process was busy: one more turn lets them in.
    setImmediate(() => {
      if (!this.isTooLong()) return;
      this.since = performance.now();
      this.noticed();
    });
  }

  private isTooLong(): boolean {
    return this.waiting > 0 && performance.now() - this.since >= LONGEST_MS;
  }
}
