import type { Clock } from '../../lib/clock.js';
import type { DenyListStore } from '../../lib/deny-list/deny-list.store.js';

export interface Operation {
  /** Counted from 1. */
  readonly n: number;
  readonly verb: 'read' | 'write' | 'writeIfAbsent' | 'writeIfUnchanged';
  /** Of a read: the first of them. */
  readonly key: string;
  readonly ttl?: number | undefined;
}

/**
 * What goes wrong with an operation: `lost`, it does not happen; `unconfirmed`, it happens but its
 * answer gets lost; `hangs`, it happens only at `release()`, and is answered then; `late`, its
 * caller sees it fail at once and it happens at `release()`.
 */
export type Fault = 'lost' | 'unconfirmed' | 'hangs' | 'late';

interface Entry {
  readonly value: string;
  /** By the clock of the store that wrote it; absent: for ever. */
  readonly expires: number | undefined;
}

/**
 * A store on a Map. Two stores on one Map with one clock are like one Redis; each with a clock of
 * its own they are like Keyv, where `expires` is by the writer's clock and held against the reader's.
 */
export class MemoryStore implements DenyListStore {
  readonly atomic = 'store';
  readonly ephemeral = false;
  /** Every operation until now. */
  readonly operations: Operation[] = [];
  /** Decides for each operation whether it fails, and how; it may also wait, or act in between. */
  onOperation: (operation: Operation) => Fault | undefined | Promise<Fault | undefined> = () =>
    undefined;
  private held: (() => void)[] = [];

  constructor(
    private readonly clock: Clock,
    readonly entries = new Map<string, Entry>(),
  ) {}

  read(keys: readonly string[]) {
    return this.operate({ verb: 'read', key: keys[0] ?? '' }, () =>
      keys.map((key) => this.get(key)),
    );
  }

  write(key: string, value: string, ttl: number | undefined) {
    return this.operate({ verb: 'write', key, ttl }, () => this.set(key, value, ttl));
  }

  writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    return this.operate({ verb: 'writeIfAbsent', key, ttl }, () => {
      const standing = this.get(key);
      if (standing === undefined) this.set(key, value, ttl);
      return standing;
    });
  }

  writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    return this.operate({ verb: 'writeIfUnchanged', key, ttl }, () => {
      const current = this.get(key);
      if (current !== expected) return { written: false, current };
      this.set(key, value, ttl);
      return { written: true };
    });
  }

  /** What was held back happens now. */
  release(): void {
    for (const effect of this.held.splice(0)) effect();
  }

  /** The store has lost everything. */
  clear(): void {
    this.entries.clear();
  }

  get(key: string): string | undefined {
    const entry = this.entries.get(key);
    if (entry?.expires !== undefined && this.clock.now() >= entry.expires) {
      this.entries.delete(key);
      return undefined;
    }
    return entry?.value;
  }

  private set(key: string, value: string, ttl: number | undefined): void {
    const expires = ttl === undefined ? undefined : this.clock.now() + ttl;
    this.entries.set(key, { value, expires });
  }

  private async operate<T>(what: Omit<Operation, 'n'>, effect: () => T): Promise<T> {
    const operation = { n: this.operations.length + 1, ...what };
    this.operations.push(operation);
    const fault = await this.onOperation(operation);
    if (fault === undefined) return effect();
    if (fault === 'hangs') {
      return new Promise((resolve) => this.held.push(() => resolve(effect())));
    }
    if (fault === 'unconfirmed') effect();
    if (fault === 'late') this.held.push(effect);
    throw new Error(`store fault: ${fault}`);
  }
}
