import type { Clock } from '../clock.js';
import { DenyListUnavailableError } from '../jwt-state.errors.js';
import type { DenyListStore } from './deny-list.store.js';
import {
  formatStaleMark,
  newMarkId,
  type PendingChange,
  parseStaleMark,
  pendingAfter,
} from './marks.js';
import type { Scope } from './scopes.js';
import type { Witness } from './witness.js';

/** A mark is exchanged against the one that stands there; this often it may have moved on. */
const EXCHANGE_ATTEMPTS = 100;

/** How a write ended, and for how long it was to be kept, asked after it. */
interface Written {
  readonly written: boolean;
  readonly current?: string | undefined;
  readonly keepFor: number;
}

/**
 * Writes marks, so that each outlives every token it speaks of, whoever has issued that.
 *
 * It writes for as long as this process knows that it must, then asks the store for how long that is,
 * and writes once more if that is longer. In this order: who announces himself after the question finds
 * the mark when he reads.
 */
export class MarkWriter {
  constructor(
    private readonly store: DenyListStore,
    private readonly witness: Witness,
    private readonly clock: Clock,
  ) {}

  /** Whatever stands there. */
  async write(key: string, value: string): Promise<void> {
    if (this.mustAskBefore) await this.witness.read();
    const assumed = this.witness.keepFor;
    const write = async (ttl: number) => {
      await this.store.write(key, value, ttl);
      return { written: true };
    };
    const { keepFor } = await this.andAsk(() => write(assumed), assumed);
    if (keepFor > assumed) await write(keepFor);
  }

  /**
   * A stale mark, with what the one that stands there says of handlers at work. Answers it as it was
   * written.
   *
   * @param known what stands there, as far as is known
   */
  async exchange(
    scope: Scope,
    key: string,
    change: PendingChange,
    known: string | undefined,
  ): Promise<string> {
    const isPlain = change.opens === undefined && change.closes === undefined;
    if (this.mustAskBefore) await this.witness.read();
    let ttl = this.witness.keepFor;
    let expected = known;
    // One that says what this call was to say: it only has to be kept long enough.
    let mark: string | undefined;
    for (let attempt = 0; attempt < EXCHANGE_ATTEMPTS; attempt++) {
      const value = mark ?? this.markAfter(scope, expected, change);
      const exchange = () => this.store.writeIfUnchanged(key, expected, value, ttl);
      const { written, current, keepFor } = await this.andAsk(exchange, ttl);
      if (written && keepFor <= ttl) return value;
      // A mark that was written after this call began says it as well, whoever has written it; but he
      // may know less of how long it is to be kept, or not come to it any more.
      const isSaid = written || (isPlain && attempt > 0);
      expected = written ? value : current;
      mark = isSaid ? expected : undefined;
      ttl = Math.max(ttl, keepFor);
    }
    throw new DenyListUnavailableError('Too many changes to one state at once.');
  }

  private markAfter(scope: Scope, before: string | undefined, change: PendingChange): string {
    const now = this.clock.now();
    const standing = before === undefined ? undefined : parseStaleMark(scope, before).pending;
    return formatStaleMark(newMarkId(now), pendingAfter(standing, change, now));
  }

  /**
   * A mark that stands must not be shortened by one that knows less. Where it cannot be, the mark leaves
   * at once: others may have something to ask in the same breath, behind it.
   */
  private get mustAskBefore(): boolean {
    return !this.store.neverShortens && !this.witness.isFresh;
  }

  /** With every attempt, in one breath where the store keeps the order: no answer may be older than it. */
  private async andAsk(
    write: () => Promise<Omit<Written, 'keepFor'>>,
    ttl: number,
  ): Promise<Written> {
    if (this.store.isOrdered) {
      const [result, keepFor] = await Promise.all([write(), this.witness.read()]);
      return { ...result, keepFor };
    }
    const result = await write();
    return { ...result, keepFor: result.written ? await this.witness.read() : ttl };
  }
}
