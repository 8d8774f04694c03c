import { EventEmitter } from 'node:events';
import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { NATIVE_STORE } from '../deny-list/native-store.js';
import { type FaultOptions, Faults } from './faults.js';
import { FaultyMemoryStore } from './faulty-memory.store.js';

/**
 * A deny list in memory whose failures and losses can be switched on. Between it and the application
 * stands what stands before Redis, too: the deadline of `denyList.lookupTimeout`, the circuit breaker,
 * `onUnavailable` and `onLoss`. Applications that are given the same one share it, as processes would.
 *
 * Its entries end by the application's clock, so a `TestClock` moves them, too.
 *
 * @example
 * ```ts
 * const denyList = new TestDenyList();
 * const module = await overrideJwtState(Test.createTestingModule({ imports: [AppModule] }), { denyList }).compile();
 *
 * denyList.fail(); // guarded requests are 503 from now on
 * ```
 * @example Without `overrideJwtState()`:
 * ```ts
 * JwtStateModule.forRoot({ keys, claims, denyList: { cache: denyList.cache } });
 * ```
 *
 * @publicApi
 */
export class TestDenyList {
  /** For `denyList.cache`. */
  readonly cache: Cache;
  readonly #faults = new Faults();
  readonly #store = new FaultyMemoryStore(this.#faults);

  constructor() {
    const keyv = new Keyv({ store: new TestAdapter(this.#store), throwOnErrors: true });
    this.cache = createCache({ stores: [keyv] });
  }

  /**
   * From now on calls are errors, as those to a server that is down.
   *
   * @example
   * ```ts
   * denyList.fail();
   * denyList.fail({ only: 'write' });
   * denyList.fail({ keys: /:next:/, times: 1 });
   * ```
   */
  fail(options: FaultOptions = {}): void {
    this.#faults.set({ ...options, kind: 'fails' });
  }

  /**
   * From now on calls are not answered. They take effect when it {@link recover}s, though their
   * callers have long been told that they failed: as with a server that was stopped.
   */
  hang(options: FaultOptions = {}): void {
    this.#faults.set({ ...options, kind: 'hangs' });
  }

  /**
   * It answers again. After three failures in a row the module leaves a store alone for a second:
   * advance the clock by that, or wait.
   */
  recover(): void {
    this.#faults.clear();
  }

  /**
   * Forgets everything, as after FLUSHALL or a restart without its data: the module notices
   * (`denyList.onLoss`). Or only the entries under keys that `options.keys` matches, which nobody can
   * notice.
   */
  lose(options: Pick<FaultOptions, 'keys'> = {}): void {
    this.#store.lose(options.keys);
  }

  /** How many reads it was sent; many keys in one call are one. */
  get reads(): number {
    return this.#store.reads;
  }

  /** How many writes it was sent. */
  get writes(): number {
    return this.#store.writes;
  }
}

/** What Keyv sees of it; the module itself goes past this to the store. */
class TestAdapter extends EventEmitter {
  /** Keyv keeps its own options here. */
  opts: Record<string, unknown> = {};
  namespace?: string;
  readonly [NATIVE_STORE]: FaultyMemoryStore;

  constructor(store: FaultyMemoryStore) {
    super();
    this[NATIVE_STORE] = store;
  }

  async get(key: string): Promise<string | undefined> {
    const [value] = await this[NATIVE_STORE].read([key]);
    return value;
  }

  async set(key: string, value: string, ttl?: number): Promise<boolean> {
    await this[NATIVE_STORE].write(key, value, ttl);
    return true;
  }

  delete(key: string): Promise<boolean> {
    return this[NATIVE_STORE].remove(key);
  }

  async clear(): Promise<void> {
    this[NATIVE_STORE].lose();
  }
}
