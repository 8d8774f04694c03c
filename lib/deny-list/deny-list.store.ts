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
 * What the rules need of a store: four verbs, and three more where it has them. Every one of them
 * rejects when the store did not do what was asked; "not found" is an answer, silence is not.
 */
export interface DenyListStore {
  /** The values of some keys, in one round trip where the store can, in the order given. */
  read(keys: readonly string[]): Promise<readonly (string | undefined)[]>;

  /**
   * Writes whatever stands there, and keeps the later end: see {@link neverShortens}.
   *
   * @param ttl whole milliseconds; `undefined`: for ever
   */
  write(key: string, value: string, ttl: number | undefined): Promise<void>;

  /**
   * Writes where nothing stands. Answers what stood there, or `undefined` when it has written.
   * Atomic for all who share the store, or for this process: see {@link DenyListStore.atomic}.
   */
  writeIfAbsent(key: string, value: string, ttl: number | undefined): Promise<string | undefined>;

  /**
   * Writes where still `expected` stands, and keeps the later end. Atomic as far as
   * {@link writeIfAbsent} is.
   */
  writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ): Promise<{ written: boolean; current?: string | undefined }>;

  /**
   * Two entries at once, and neither where one of them stands. Answers what stood there; of the second
   * only where the first did not. Only where {@link isOrdered}, and left out by stores that cannot: then
   * they are written one by one.
   */
  writeBothIfAbsent?(first: Entry, second: Entry): Promise<readonly [Standing, Standing]>;

  /**
   * Removes an entry that still holds `expected`; answers whether it did. There is one wherever there
   * is {@link writeBothIfAbsent}, of which it takes back the second entry.
   */
  removeIfUnchanged?(key: string, expected: string): Promise<boolean>;

  /**
   * In one step, where the record `jti` leads to `successor`: notes there that the successor was used,
   * and has `next` end in so many milliseconds, if it would end later. As {@link writeBothIfAbsent};
   * without it records stay as they are.
   */
  conclude?(jti: string, successor: string, next: string, ttl: number): Promise<void>;

  /**
   * Whether {@link write} and {@link writeIfUnchanged} keep the end of the entry that stands there, where
   * that lies later than the new one's: what one service is to keep for long, another, which knows of
   * shorter lifetimes only, must not cut short. An entry without an end gets one: nothing that is
   * written with an end is to stay for ever.
   */
  readonly neverShortens?: boolean;

  /** How far "absent" and "unchanged" reach. */
  readonly atomic: 'store' | 'process';

  /** Whether what is asked in one breath is done in the order in which it was asked. */
  readonly isOrdered?: boolean;

  /** One process, no other sees it, gone with it. */
  readonly ephemeral: boolean;

  /**
   * Another one whenever something that {@link near} has recalled may have changed, or would not be
   * recalled any more, save by an entry's coming to its end; `undefined`: nobody can say.
   */
  readonly version?: number | undefined;

  /** What lies in this process, of a store elsewhere or the store itself. */
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
