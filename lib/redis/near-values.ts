import { KnownValues } from './known-values.js';

/**
 * The longest value that is kept. Marks are shorter by far; a longer value leads to a look at the
 * store anyway, and would make the memory that a number of entries takes a matter of luck.
 */
const LONGEST_VALUE = 512;

/** What was asked of the server, and when: what its answer is worth depends on it. */
export interface Question {
  readonly keys: readonly string[];
  readonly sentAt: number;
  readonly generation: number;
  readonly moment: number;
}

interface Pending {
  questions: number;
  /** When news of this key last came; 0: not since somebody is waiting for it. */
  overtakenAt: number;
}

/**
 * The rule of the near copy, without Redis: answers are kept as long as the server would tell if they
 * changed.
 *
 * - **An answer that news has overtaken is not kept.** The server sends answers and news in order, but
 *   an answer reaches its caller some turns later: between its leaving the server and its being
 *   kept, the entry may have been changed, or all of them deleted.
 * - **Nothing outlives the connection** on which its news would come.
 * - **A lease.** A server that hangs sends no news either. What is kept counts for so long after the
 *   *sending* of the last command that was answered: the answer proves that all news up to then has
 *   been heard, since it came after it.
 */
export class NearValues {
  private readonly known: KnownValues;
  private readonly pending = new Map<string, Pending>();
  /** Changes whenever all that was asked before has lost its worth. */
  private generation = 0;
  /** Counts the news of keys that somebody waits for. */
  private moment = 0;
  private isHearing = false;
  private trustedUntil = Number.NEGATIVE_INFINITY;

  /**
   * @param size how many values are kept at most
   * @param lease in ms
   * @param now monotonic, in ms: a clock that is put back would prolong the lease
   */
  constructor(
    size: number,
    private readonly lease: number,
    private readonly now: () => number,
  ) {
    this.known = new KnownValues(size);
  }

  get size(): number {
    return this.known.size;
  }

  /**
   * Another one whenever a value that was known is so no more; `undefined` while none may be believed.
   * News of what this process has never asked for, which is most of what a large deployment sends,
   * changes nothing here.
   */
  get version(): number | undefined {
    return this.now() < this.trustedUntil ? this.known.losses : undefined;
  }

  /** How many keys somebody waits for. */
  get awaited(): number {
    return this.pending.size;
  }

  /** How long the values count if nothing is heard any more, in ms. */
  get trustedFor(): number {
    return Math.max(0, this.trustedUntil - this.now());
  }

  // --- what is known -------------------------------------------------------------------------

  /** All values, or `undefined` where one is not known or none may be believed. */
  recall(keys: readonly string[]): (string | undefined)[] | undefined {
    if (this.now() >= this.trustedUntil) return undefined;
    const values: (string | undefined)[] = [];
    for (const key of keys) {
      const known = this.known.get(key);
      if (known === undefined) return undefined;
      values.push(known ?? undefined);
    }
    return values;
  }

  /** One value; `undefined`: not known. */
  recallOne(key: string): string | null | undefined {
    return this.now() < this.trustedUntil ? this.known.get(key) : undefined;
  }

  // --- asking --------------------------------------------------------------------------------

  /** To be called before the command is sent. No keys: only to hear that the server answers. */
  ask(keys: readonly string[]): Question {
    for (const key of keys) {
      const pending = this.pending.get(key);
      if (pending) pending.questions += 1;
      else this.pending.set(key, { questions: 1, overtakenAt: 0 });
    }
    const { generation, moment } = this;
    return { keys, sentAt: this.now(), generation, moment };
  }

  answered(question: Question, values: readonly (string | undefined)[]): void {
    const counts = this.isHearing && question.generation === this.generation;
    if (counts) this.trustedUntil = Math.max(this.trustedUntil, question.sentAt + this.lease);
    for (let index = 0; index < question.keys.length; index++) {
      const key = question.keys[index] as string;
      const overtakenAt = this.release(key);
      if (!counts || overtakenAt > question.moment) continue;
      const value = values[index];
      if (value === undefined || value.length <= LONGEST_VALUE) this.known.set(key, value ?? null);
    }
  }

  /** The command failed, or was never sent. */
  unanswered(question: Question): void {
    for (const key of question.keys) this.release(key);
  }

  private release(key: string): number {
    const pending = this.pending.get(key);
    if (!pending) return Number.POSITIVE_INFINITY;
    pending.questions -= 1;
    if (pending.questions === 0) this.pending.delete(key);
    return pending.overtakenAt;
  }

  // --- news ----------------------------------------------------------------------------------

  /** This entry has changed, or is about to. */
  invalidate(key: string): void {
    this.known.delete(key);
    const pending = this.pending.get(key);
    if (!pending) return;
    this.moment += 1;
    pending.overtakenAt = this.moment;
  }

  /** Every entry may have changed. */
  clear(): void {
    this.generation += 1;
    this.known.clear();
  }

  /** From here on every command goes over a connection on which news is heard. */
  hear(): void {
    this.generation += 1;
    this.isHearing = true;
  }

  /** No news is heard any more. */
  deafen(): void {
    this.isHearing = false;
    this.trustedUntil = Number.NEGATIVE_INFINITY;
    this.clear();
  }
}
