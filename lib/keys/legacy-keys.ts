import type { KeyObject } from 'node:crypto';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { KeyRing } from './key-ring.js';
import type { KeyQuery, VerificationKeys } from './verification-keys.js';

/**
 * Keys for tokens that were signed before keys had names: one without a `kid` is checked with the
 * only key of its algorithm.
 */
export class LegacyKeys implements VerificationKeys {
  readonly algorithms;

  constructor(private readonly ring: KeyRing) {
    this.algorithms = ring.algorithms;
    if (this.algorithms.length < ring.keys.length) {
      throw new JwtStateConfigError(
        'legacy: there are several keys of one algorithm, and old tokens name none. Put the one they ' +
          'were signed with into legacy.keys.',
      );
    }
  }

  accepts(algorithm: unknown) {
    return this.ring.accepts(algorithm);
  }

  find({ alg, kid }: KeyQuery): KeyObject | undefined {
    if (kid !== undefined) return this.ring.find({ alg, kid });
    return this.ring.keys.find((key) => key.algorithm === alg)?.verificationKey;
  }
}
