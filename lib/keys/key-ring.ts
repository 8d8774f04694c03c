import type { KeyObject } from 'node:crypto';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { createKey, type Key } from './key-material.js';
import type { Algorithm, KeyOptions } from './key-options.js';
import type { KeyQuery, VerificationKeys } from './verification-keys.js';

/** The keys of this service: the first signs, all of them verify, each under its own `kid`. */
export class KeyRing implements VerificationKeys {
  private readonly byKid: ReadonlyMap<string | undefined, Key>;

  constructor(readonly keys: readonly Key[]) {
    this.byKid = new Map(keys.map((key) => [key.kid, key]));
    if (this.byKid.size < keys.length) {
      throw new JwtStateConfigError(
        'keys: two keys have the same `kid` (or none): a token names its key by it, so give each its own.',
      );
    }
  }

  /** The one key that signs; absent in a service that only verifies. */
  get signing(): Key | undefined {
    const [first] = this.keys;
    return first?.signingKey && first;
  }

  get algorithms(): readonly Algorithm[] {
    return [...new Set(this.keys.map((key) => key.algorithm))];
  }

  accepts(algorithm: unknown): algorithm is Algorithm {
    return this.keys.some((key) => key.algorithm === algorithm);
  }

  find({ alg, kid }: KeyQuery): KeyObject | undefined {
    const key = this.byKid.get(kid);
    return key?.algorithm === alg ? key.verificationKey : undefined;
  }
}

/** Checks the key options and makes the keys. @throws JwtStateConfigError */
export async function createKeyRing(options: KeyOptions | readonly KeyOptions[]): Promise<KeyRing> {
  const list = Array.isArray(options) ? options : [options];
  return new KeyRing(await Promise.all(list.map(createKey)));
}
