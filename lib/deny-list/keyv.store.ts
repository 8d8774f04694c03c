import type { Keyv } from 'keyv';
import { type DenyListStore, StoreAnswerError } from './deny-list.store.js';
import { KeyedMutex } from './keyed-mutex.js';
import { withDeadline } from './with-deadline.js';

const OTHER_KIND = 'It holds a value of another kind under a key of the deny list.';

/**
 * Any Keyv store. Keyv has no "set if absent", so a mutex makes one for this process; that is the
 * whole truth in memory, and a documented limit for a store that several processes share.
 */
export class KeyvStore implements DenyListStore {
  readonly atomic = 'process';
  private readonly mutex = new KeyedMutex();

  constructor(
    private readonly keyv: Keyv,
    readonly ephemeral: boolean,
    /** Milliseconds after which an exchange that hangs gives way to the next one of its key. */
    private readonly deadline: number,
  ) {}

  read(keys: readonly string[]): Promise<(string | undefined)[]> {
    // One by one: Keyv's getMany settles errors into "not found" over adapters without their own.
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async write(key: string, value: string, ttl: number | undefined): Promise<void> {
    const stored = await this.keyv.set(key, value, ttl);
    if (stored === false) throw new Error('The store refused the write.');
  }

  async writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    const { written, current } = await this.exchange(key, undefined, value, ttl);
    return written ? undefined : current;
  }

  writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    return this.exchange(key, expected, value, ttl);
  }

  private exchange(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    const exchange = async () => {
      const begun = performance.now();
      const current = await this.get(key);
      if (current !== expected) return { written: false, current };
      // Who was given up on has lost the lock as well, and must not write any more.
      if (performance.now() - begun > this.deadline) throw new Error('The store was too slow.');
      await this.write(key, value, ttl);
      return { written: true };
    };
    return this.mutex.run(key, () => withDeadline(exchange(), this.deadline));
  }

  private async get(key: string): Promise<string | undefined> {
    // Raw, since for Keyv what lacks its envelope is nothing.
    const stored: unknown = await this.keyv.get(key, { raw: true }).catch(rethrowUnreadable);
    if (stored === undefined) return undefined;
    const { value } = Object(stored);
    if (typeof value === 'string') return value;
    throw new StoreAnswerError(OTHER_KIND);
  }
}

function rethrowUnreadable(error: unknown): never {
  // What the parser says quotes the value.
  throw error instanceof SyntaxError ? new StoreAnswerError(OTHER_KIND) : error;
}
