import {
  type DenyListStore,
  type Entry,
  type NearCopy,
  type Standing,
  StoreAnswerError,
} from './deny-list.store.js';
import type { MemoryAdapter } from './memory.adapter.js';
import { formatUsed } from './records.js';

/** The default store, below Keyv: what lies in this process is answered without a promise. */
export class MemoryStore implements DenyListStore {
  readonly atomic = 'process';
  readonly ephemeral = true;
  readonly isOrdered = true;
  readonly neverShortens = true;
  /** All of it lies in this process. */
  readonly near: NearCopy = {
    recall: (keys) => this.recall(keys),
    complete: (keys) => this.read(keys),
  };

  constructor(private readonly adapter: MemoryAdapter) {}

  get version(): number {
    return this.adapter.version;
  }

  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    return keys.map((key) => this.get(key));
  }

  async write(key: string, value: string, ttl: number | undefined): Promise<void> {
    this.adapter.setAtLeast(key, value, ttl);
  }

  async writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    return this.add({ key, value, ttl });
  }

  async writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    const current = this.get(key);
    if (current !== expected) return { written: false, current };
    this.adapter.setAtLeast(key, value, ttl);
    return { written: true };
  }

  async writeBothIfAbsent(first: Entry, second: Entry): Promise<readonly [Standing, Standing]> {
    const standing = this.get(first.key);
    if (standing !== undefined) return [standing, undefined];
    const before = this.add(second);
    if (before === undefined) this.add(first);
    return [undefined, before];
  }

  async removeIfUnchanged(key: string, expected: string): Promise<boolean> {
    return this.get(key) === expected && this.adapter.delete(key);
  }

  async conclude(jti: string, successor: string, next: string, ttl: number): Promise<void> {
    const used = formatUsed(this.get(jti), successor);
    if (used === undefined) return;
    this.adapter.replace(jti, used);
    this.adapter.endSooner(next, ttl);
  }

  private add({ key, value, ttl }: Omit<Entry, 'ttl'> & { ttl: number | undefined }): Standing {
    const current = this.get(key);
    if (current === undefined) this.adapter.set(key, value, ttl);
    return current;
  }

  /** Without an error: it is for whoever asks for an answer to have one. */
  private recall(keys: readonly string[]): (string | undefined)[] | undefined {
    const values: (string | undefined)[] = [];
    for (const key of keys) {
      const value = this.adapter.get(key);
      if (value !== undefined && typeof value !== 'string') return undefined;
      values.push(value);
    }
    return values;
  }

  private get(key: string): string | undefined {
    const value = this.adapter.get(key);
    if (value === undefined || typeof value === 'string') return value;
    throw new StoreAnswerError('It holds a value of another kind.');
  }
}
