import type { Entry, NearCopy } from '../../lib/deny-list/deny-list.store.js';
import { formatUsed } from '../../lib/deny-list/records.js';
import { MemoryStore } from './memory-store.js';

/**
 * A store on one connection, as memory and one Redis are: what is asked in one breath is done in that
 * order, and both records of a succession are one step.
 *
 * What takes back a step that hangs, or is late, is stuck behind it.
 */
export class PairStore extends MemoryStore {
  readonly isOrdered = true;
  private last: Promise<unknown> = Promise.resolve();

  writeBothIfAbsent(first: Entry, second: Entry) {
    const { key, ttl } = first;
    return this.operate({ verb: 'writeBothIfAbsent', key, ttl }, () => {
      const standing = this.get(first.key);
      if (standing !== undefined) return [standing, undefined] as const;
      const before = this.add(second);
      if (before === undefined) this.add(first);
      return [undefined, before] as const;
    });
  }

  removeIfUnchanged(key: string, expected: string): Promise<boolean> {
    const remove = () => this.get(key) === expected && this.delete(key);
    return this.operate({ verb: 'removeIfUnchanged', key }, remove, this.held.length > 0);
  }

  conclude(jti: string, successor: string, next: string, ttl: number): Promise<void> {
    return this.operate({ verb: 'conclude', key: jti, ttl }, () => {
      const used = formatUsed(this.get(jti), successor);
      if (used === undefined) return;
      this.set(jti, used, this.longer(jti, 0));
      const value = this.get(next);
      if (value !== undefined && this.longer(next, ttl) !== ttl) this.set(next, value, ttl);
    });
  }

  protected override inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.last.then(task);
    this.last = turn.catch(() => {});
    return turn;
  }

  private add({ key, value, ttl }: Entry): string | undefined {
    const standing = this.get(key);
    if (standing === undefined) this.set(key, value, ttl);
    return standing;
  }
}

/** The same with a copy in the process, which no news is late for. */
export class NearPairStore extends PairStore {
  /** What was asked before, and has not changed since. */
  private readonly known = new Set<string>();
  private changes = 0;

  get version(): number {
    return this.changes;
  }

  readonly near: NearCopy = {
    recall: (keys) =>
      keys.every((key) => this.known.has(key)) ? keys.map((key) => this.get(key)) : undefined,
    complete: async (keys) => {
      const values = await this.read(keys);
      for (const key of keys) this.known.add(key);
      return values;
    },
  };

  override clear(): void {
    super.clear();
    this.known.clear();
    this.changes += 1;
  }

  protected override set(key: string, value: string, ttl: number | undefined): void {
    this.changed(key);
    super.set(key, value, ttl);
  }

  protected override delete(key: string): boolean {
    this.changed(key);
    return super.delete(key);
  }

  private changed(key: string): void {
    this.known.delete(key);
    this.changes += 1;
  }
}
