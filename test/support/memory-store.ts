import type { Clock } from '../../lib/clock.js';
import type { DenyListStore } from '../../lib/deny-list/deny-list.store.js';

export interface Operation {
  /** Counted from 1. */
  readonly n: number;
  readonly verb:
    | 'read'
    | 'write'
    | 'writeIfAbsent'
    | 'writeIfUnchanged'
    | 'writeBothIfAbsent'
    | 'removeIfUnchanged'
    | 'conclude';
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

/** A store on a Map. Two stores on one Map with one clock are like one Redis. */
export class MemoryStore implements DenyListStore {
  readonly atomic = 'store';
  readonly ephemeral = false;
  readonly neverShortens: boolean = true;
  /** Every operation until now. */
  readonly operations: Operation[] = [];
  /** Decides for each operation whether it fails, and how; it may also wait, or act in between. */
  onOperation: (operation: Operation) => Fault | undefined | Promise<Fault | undefined> = () =>
    undefined;
  protected held: (() => void)[] = [];

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
    return this.operate({ verb: 'write', key, ttl }, () =>
      this.set(key, value, this.longer(key, ttl)),
    );
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
      this.set(key, value, this.longer(key, ttl));
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

  /** An end that lies later is kept. */
  protected longer(key: string, ttl: number | undefined): number | undefined {
    const { expires } = this.entries.get(key) ?? {};
    if (!this.neverShortens || ttl === undefined || expires === undefined) return ttl;
    return Math.max(ttl, expires - this.clock.now());
  }

  protected set(key: string, value: string, ttl: number | undefined): void {
    const expires = ttl === undefined ? undefined : this.clock.now() + ttl;
    this.entries.set(key, { value, expires });
  }

  protected delete(key: string): boolean {
    return this.entries.delete(key);
  }

  /** @param isStuck behind others that were held back, and happens after them */
  protected async operate<T>(
    what: Omit<Operation, 'n'>,
    effect: () => T,
    isStuck = false,
  ): Promise<T> {
    const operation = { n: this.operations.length + 1, ...what };
    this.operations.push(operation);
    const { answer } = await this.inTurn(async () => {
      const fault = (await this.onOperation(operation)) ?? (isStuck ? 'hangs' : undefined);
      return { answer: this.happen(fault, effect) };
    });
    return answer;
  }

  /** What is asked at the same time happens in any order. */
  protected inTurn<T>(task: () => Promise<T>): Promise<T> {
    return task();
  }

  private async happen<T>(fault: Fault | undefined, effect: () => T): Promise<T> {
    if (fault === undefined) return effect();
    if (fault === 'hangs') {
      return new Promise((resolve) => this.held.push(() => resolve(effect())));
    }
    if (fault === 'unconfirmed') effect();
    if (fault === 'late') this.held.push(effect);
    throw new Error(`store fault: ${fault}`);
  }
}

/**
 * The same without an end that is kept. Two of them on one Map, each with a clock of its own, are like
 * Keyv, where `expires` is by the writer's clock and held against the reader's.
 */
export class KeyvLikeStore extends MemoryStore {
  override readonly neverShortens = false;
}
