import { StoreAnswerError } from '../deny-list/deny-list.store.js';
import type { MemoryAdapter } from '../deny-list/memory.adapter.js';
import type { NearCopy, StateStore, Step, Values } from './state-store.js';

/** The default store: everything lies in this process, and a step is one turn of the event loop. */
export class MemoryStateStore implements StateStore {
  readonly atomic = 'process';
  readonly instant = true;
  readonly ephemeral = true;
  readonly near: NearCopy = {
    recall: (keys) => this.recall(keys),
    complete: (keys) => this.read(keys),
  };

  constructor(private readonly adapter: MemoryAdapter) {}

  get version(): number {
    return this.adapter.version;
  }

  async read(keys: readonly string[]): Promise<Values> {
    return keys.map((key) => this.get(key));
  }

  async commit({ checks, writes }: Step): Promise<Values | undefined> {
    const standing = checks.map(({ key }) => this.get(key));
    if (checks.some(({ expected }, index) => standing[index] !== expected)) return standing;
    for (const { key, value, ttl } of writes) this.adapter.setAtLeast(key, value, ttl);
    return undefined;
  }

  /** Without an error: whoever asks for an answer gets it. */
  private recall(keys: readonly string[]): Values | undefined {
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
