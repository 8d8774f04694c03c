/** So long after the last request the server is still asked, in ms. */
const STAY_AWAKE_MS = 5_000;

/**
 * Asks the server now and then whether it still answers, as long as somebody needs to know. An
 * application without requests sends nothing; its next request asks the server itself.
 */
export class Heartbeat {
  private timer: NodeJS.Timeout | undefined;
  private neededAt = 0;
  private isWaiting = false;

  /**
   * @param beat sends one question, and resolves or rejects when it is settled
   * @param interval in ms
   */
  constructor(
    private readonly beat: () => Promise<unknown>,
    private readonly interval: number,
  ) {}

  need(): void {
    this.neededAt = performance.now();
    this.timer ??= setInterval(() => this.tick(), this.interval).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private tick(): void {
    if (performance.now() - this.neededAt > STAY_AWAKE_MS) this.stop();
    // One at a time: a server that hangs must not find a queue of them when it goes on.
    else if (!this.isWaiting) void this.send();
  }

  private async send(): Promise<void> {
    this.isWaiting = true;
    try {
      await this.beat();
    } catch {
      // Whoever asks for something else hears of it.
    } finally {
      this.isWaiting = false;
    }
  }
}
