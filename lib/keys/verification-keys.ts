import type { KeyObject } from 'node:crypto';
import type { Algorithm } from './key-options.js';

/** The members of a JOSE header by which a key is found (RFC 7515 §4.1). */
export interface KeyQuery {
  readonly alg: Algorithm;
  readonly kid: string | undefined;
}

/**
 * The keys that signatures are checked with. A key belongs to one algorithm: what the header of a
 * token says is held against it and never chooses (RFC 8725 §3.1).
 */
export interface VerificationKeys {
  /** What there can be keys for. */
  readonly algorithms: readonly Algorithm[];

  /** Whether there can be a key for it at all. */
  accepts(algorithm: unknown): algorithm is Algorithm;

  /**
   * `undefined`: there is no such key. A promise only where it has to be fetched.
   *
   * @throws KeysUnavailableError when nobody can say whether there is one
   */
  find(query: KeyQuery): KeyObject | undefined | Promise<KeyObject | undefined>;
}
