import type { DenyListStore, NearCopy } from './deny-list.store.js';

/** What stands for an epoch where nothing is kept. */
const NO_EPOCH = 'none';

/**
 * No deny list: nothing is kept, so nothing is ever found, and asking costs nothing. Tokens end by
 * their `exp` alone.
 */
export class VoidStore implements DenyListStore {
  readonly atomic = 'process';
  readonly ephemeral = false;
  readonly version = 0;
  readonly near: NearCopy = {
    recall: (keys) => this.valuesOf(keys),
    complete: (keys) => this.read(keys),
  };

  constructor(private readonly witness: string) {}

  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    return this.valuesOf(keys);
  }

  async write(): Promise<void> {}

  async writeIfAbsent(): Promise<undefined> {}

  async writeIfUnchanged(): Promise<{ written: boolean }> {
    return { written: true };
  }

  private valuesOf(keys: readonly string[]): (string | undefined)[] {
    return keys.map((key) => (key === this.witness ? NO_EPOCH : undefined));
  }
}
