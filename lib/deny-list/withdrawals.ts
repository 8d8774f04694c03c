/** After so long it is tried again, in ms. */
const AGAIN_AFTER_MS = 1_000;
/** How often at most. */
const ROUNDS = 120;
/** Once is not enough: over a broken connection the write may come after what was to undo it. */
const CONFIRMATIONS = 2;
/** So many at a time: a store that hangs must not fill this process. The oldest give way. */
const MOST = 10_000;

interface Withdrawal {
  readonly key: string;
  readonly value: string;
  confirmations: number;
  rounds: number;
}

/**
 * Takes entries back whose writing was not confirmed, and which may stand all the same, or appear
 * later. Nobody waits for it: at once, behind the write that may still be under way; and about every
 * second until the store has confirmed it and, a round later, once more.
 *
 * Nothing remembers them beyond this process.
 */
export class Withdrawals {
  private readonly outstanding = new Set<Withdrawal>();
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  /** @param remove the entry of that name, if it still holds that value */
  constructor(private readonly remove: (key: string, value: string) => Promise<unknown>) {}

  get size(): number {
    return this.outstanding.size;
  }

  begin({ key, value }: { readonly key: string; readonly value: string }): void {
    if (this.isClosed) return;
    const withdrawal: Withdrawal = { key, value, confirmations: 0, rounds: 0 };
    const [oldest] = this.outstanding;
    if (oldest && this.outstanding.size >= MOST) this.outstanding.delete(oldest);
    this.outstanding.add(withdrawal);
    void this.attempt(withdrawal);
    this.schedule();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.outstanding.clear();
  }

  private schedule(): void {
    if (this.isClosed || this.outstanding.size === 0) return;
    this.timer ??= setTimeout(() => void this.again(), AGAIN_AFTER_MS).unref();
  }

  private async again(): Promise<void> {
    let isAnswered = true;
    for (const withdrawal of this.outstanding) {
      withdrawal.rounds += 1;
      // The first round may come a moment after the first attempt: it is the next that counts.
      if (withdrawal.rounds === 1) continue;
      // One by one, and while the store does not answer only one of them asks.
      if (isAnswered) isAnswered = await this.attempt(withdrawal);
      if (withdrawal.rounds > ROUNDS) this.outstanding.delete(withdrawal);
    }
    this.timer = undefined;
    this.schedule();
  }

  /** Whether the store has answered. */
  private async attempt(withdrawal: Withdrawal): Promise<boolean> {
    try {
      await this.remove(withdrawal.key, withdrawal.value);
    } catch {
      return false;
    }
    withdrawal.confirmations += 1;
    if (withdrawal.confirmations >= CONFIRMATIONS) this.outstanding.delete(withdrawal);
    return true;
  }
}
