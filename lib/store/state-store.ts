/*
 * What the rules need of a store: two verbs. `docs/internals/store-contract.md` says the same to those who
 * write one, and the conformance suite checks it.
 */

/** A key that a commit depends on, with the value that its caller has read there. */
export interface Check {
  readonly key: string;
  /** `undefined`: nothing stands there. */
  readonly expected: string | undefined;
}

/** A value to put under a key. */
export interface Write {
  readonly key: string;
  readonly value: string;
  /** Whole milliseconds; absent: for ever. A record that already ends later keeps its later end. */
  readonly ttl?: number;
}

/** Everything one step of the protocol changes, and what it may only be changed on top of. */
export interface Step {
  readonly checks: readonly Check[];
  readonly writes: readonly Write[];
}

/** The values of keys, in the order in which they were asked for; `undefined`: nothing stands there. */
export type Values = readonly (string | undefined)[];

export interface StateStore {
  /** Rejects when the store did not answer. Silence is never read as "nothing stands there". */
  read(keys: readonly string[]): Promise<Values>;

  /**
   * All writes or none, and only where every checked key still holds what is expected.
   *
   * @returns `undefined` when it is done; otherwise what stands under the checked keys, in their order
   * @throws when nobody knows whether it happened
   */
  commit(step: Step): Promise<Values | undefined>;

  /** How far "all or nothing" reaches: everybody who shares the store, or only this process. */
  readonly atomic: 'store' | 'process';

  /** Whether all values of one `read()` come from one moment. */
  readonly instant: boolean;

  /** Whether the records end with this process. */
  readonly ephemeral: boolean;

  /** Increments when a value that {@link near} has given out may have changed; absent: not known. */
  readonly version?: number | undefined;

  /** What this process can answer without asking the store. */
  readonly near?: NearCopy | undefined;

  /** Ends connections and timers. */
  close?(): void;
}

/**
 * The records this process has read before, kept current by the store's change notifications. The copy
 * lags behind by what a notification takes, so it may only let a request run: everything with other
 * consequences reads the store.
 */
export interface NearCopy {
  /** All values, synchronously; `undefined` when one is unknown or the copy may not be trusted now. */
  recall(keys: readonly string[]): Values | undefined;

  /** The same, where only the unknown keys are asked of the store. */
  complete(keys: readonly string[]): Promise<Values>;
}
