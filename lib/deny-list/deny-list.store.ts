import type { Answer } from '../answer.js';

/**
 * The store has answered, but not with what was asked: a value of another kind, a command it does
 * not permit. That fails the call, and says nothing about the next one.
 */
export class StoreAnswerError extends Error {
  override readonly name = 'StoreAnswerError';
}

/** One of several servers does not answer, and the store itself leaves it alone for a while. */
export class PartialOutageError extends Error {
  override readonly name = 'PartialOutageError';
}

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Whole milliseconds. */
  readonly ttl: number;
}

/** What stands under a key that was to be written; `undefined`: it was written. */
export type Standing = string | undefined;

/**
 * What the rules need of a store: five verbs. Every one of them rejects when the store did not
 * do what was asked; "not found" is an answer, silence is not.
 */
export interface DenyListStore {
  /**
   * The values of some keys, in one round trip where the store can, in the order given. Without a
   * promise where they are at hand.
   */
  read(keys: readonly string[]): Answer<readonly (string | undefined)[]>;

  /** @param ttl whole milliseconds; `undefined`: for ever */
  write(key: string, value: string, ttl: number | undefined): Promise<void>;

  /**
   * Writes where nothing stands. Answers what stood there, or `undefined` when it has written.
   * Atomic for all who share the store, or for this process: see {@link DenyListStore.atomic}.
   */
  writeIfAbsent(key: string, value: string, ttl: number | undefined): Promise<string | undefined>;

  /** Writes where still `expected` stands. Atomic as far as {@link writeIfAbsent} is. */
  writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ): Promise<{ written: boolean; current?: string | undefined }>;

  /**
   * Two entries at once, each where nothing stands, and the second only if the first was written.
   * Answers what stood there. Left out by stores that cannot: then they are written one by one.
   */
  writeBothIfAbsent?(first: Entry, second: Entry): Promise<readonly [Standing, Standing]>;

  /** How far "absent" and "unchanged" reach. */
  readonly atomic: 'store' | 'process';

  /** Whether what is asked in one breath is done in the order in which it was asked. */
  readonly isOrdered?: boolean;

  /** One process, no other sees it, gone with it. */
  readonly ephemeral: boolean;

  /**
   * Another one whenever what {@link read} or {@link near} would answer at once may have changed, save
   * by an entry's coming to its end; `undefined`: nobody can say. Only where they answer without a
   * promise.
   */
  readonly version?: number | undefined;

  /** A copy in this process, where the store keeps one. */
  readonly near?: NearCopy | undefined;
}

/**
 * What this process was answered before, kept as long as the store tells of changes. It lags behind
 * the store by what such news takes, so whatever is to have consequences is read from the store.
 */
export interface NearCopy {
  /** All values at once; `undefined`: some are not known, or the copy may not be believed now. */
  recall(keys: readonly string[]): readonly (string | undefined)[] | undefined;

  /** The same from the store, where only what is not known has to be asked for. */
  complete(keys: readonly string[]): Promise<readonly (string | undefined)[]>;
}
