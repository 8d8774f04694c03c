import type { Clock } from '../clock.js';
import { DenyListUnavailableError } from '../jwt-state.errors.js';
import type { Check, StateStore, Write } from '../store/state-store.js';
import type { Witness } from './witness.js';

/**
 * What is to stand under a key, given what stands there. `undefined`: it stays as it is.
 *
 * It may be called more than once, each time with a newer value.
 */
export type Change = (value: string | undefined) => string | undefined;

/** A change that has not been sent yet, with whoever waits for it. */
interface Waiting {
  readonly change: Change;
  readonly until: number;
  readonly resolve: (value: string | undefined) => void;
  readonly reject: (error: unknown) => void;
}

interface Queue {
  waiting: Waiting[];
  isRunning: boolean;
  /** What was last seen under the key, where anybody has looked. */
  expected: string | undefined;
}

export interface UpdaterSettings {
  /** How long one change may take, all attempts included, in ms. */
  readonly timeout: number;
  /** Waits before another attempt; replaced in tests. */
  readonly pause?: (attempt: number) => Promise<void>;
}

/**
 * Changes records by compare-and-set, and in no other way: a command that arrives late, or twice, finds
 * another value and does nothing.
 *
 * Changes of one key that are still waiting in this process are written together. One that was sent is not
 * joined: it may have landed already, before what the newcomer has just changed.
 */
export class StateUpdater {
  private readonly queues = new Map<string, Queue>();
  private readonly pause: (attempt: number) => Promise<void>;

  constructor(
    private readonly store: StateStore,
    private readonly witness: Witness,
    private readonly clock: Clock,
    private readonly settings: UpdaterSettings,
  ) {
    this.pause = settings.pause ?? pauseWithJitter;
  }

  /**
   * @param expected what the caller has read under the key, if it has: saves a round trip
   * @returns what stands there then; `undefined`: nothing
   * @throws DenyListUnavailableError: nobody knows whether it happened
   */
  update(key: string, change: Change, expected?: string): Promise<string | undefined> {
    const queue = this.queueOf(key);
    if (!queue.isRunning && expected !== undefined) queue.expected = expected;
    return new Promise((resolve, reject) => {
      const until = this.clock.now() + this.settings.timeout;
      queue.waiting.push({ change, until, resolve, reject });
      if (!queue.isRunning) void this.run(key, queue);
    });
  }

  private queueOf(key: string): Queue {
    const known = this.queues.get(key);
    if (known) return known;
    const queue: Queue = { waiting: [], isRunning: false, expected: undefined };
    this.queues.set(key, queue);
    return queue;
  }

  private async run(key: string, queue: Queue): Promise<void> {
    queue.isRunning = true;
    while (queue.waiting.length > 0) {
      const sent: Waiting[] = [];
      try {
        const value = await this.write(key, queue, sent);
        for (const { resolve } of sent) resolve(value);
      } catch (error) {
        // What has joined since the last attempt was sent is not among these: it has its own turn.
        for (const { reject } of sent) reject(error);
      }
    }
    this.queues.delete(key);
  }

  /** @param sent is filled with the changes of the attempt that is under way */
  private async write(key: string, queue: Queue, sent: Waiting[]): Promise<string | undefined> {
    for (let attempt = 0; ; attempt++) {
      sent.push(...this.take(queue));
      this.dropLate(sent);
      if (sent.length === 0) return undefined;
      // Without waiting where it is known: a look that is asked for in the same breath is to come behind.
      const witness = this.witness.settled ?? (await this.witness.read());
      const { key: witnessKey } = this.witness;
      const isWitness = key === witnessKey;
      if (isWitness) queue.expected = witness;
      const changed = this.apply(sent, queue.expected);
      // Also where nothing is to be written: only the store knows whether the record still says so.
      const checks: Check[] = [{ key, expected: queue.expected }];
      if (!isWitness) checks.push({ key: witnessKey, expected: witness });
      const standing = await this.store.commit({ checks, writes: this.writes(key, changed) });
      if (standing === undefined) {
        queue.expected = changed ?? queue.expected;
        if (isWitness) this.witness.learn(queue.expected);
        return queue.expected;
      }
      queue.expected = standing[0];
      const found = isWitness ? standing[0] : standing[1];
      this.witness.learn(found);
      await this.pause(attempt);
    }
  }

  private writes(key: string, value: string | undefined): Write[] {
    if (value === undefined) return [];
    if (key === this.witness.key) return [{ key, value }];
    return [{ key, value, ttl: this.witness.keepFor }];
  }

  private take(queue: Queue): Waiting[] {
    const taken = queue.waiting;
    queue.waiting = [];
    return taken;
  }

  /** Who has waited too long gets 503, and nothing is sent for it. */
  private dropLate(sent: Waiting[]): void {
    const now = this.clock.now();
    for (let index = sent.length - 1; index >= 0; index--) {
      const { until, reject } = sent[index] as Waiting;
      if (now < until) continue;
      sent.splice(index, 1);
      reject(new DenyListUnavailableError('Too many changes to one record at once.'));
    }
  }

  private apply(sent: Waiting[], value: string | undefined): string | undefined {
    let changed: string | undefined;
    for (const { change } of sent) changed = change(changed ?? value) ?? changed;
    return changed;
  }
}

/** Processes that met once would go on meeting. */
function pauseWithJitter(attempt: number): Promise<void> {
  const longest = Math.min(2 ** attempt, 32);
  return new Promise((resolve) => setTimeout(resolve, Math.random() * longest));
}
