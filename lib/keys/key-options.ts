import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { Duration } from '../duration.js';

export type HmacAlgorithm = 'HS256' | 'HS384' | 'HS512';
export type AsymmetricAlgorithm =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512';
export type Algorithm = HmacAlgorithm | AsymmetricAlgorithm;

/** PEM text, DER or PEM bytes, a JWK, or a `KeyObject`. */
export type KeyMaterial = string | Buffer | JsonWebKey | KeyObject;

/** One secret that signs and verifies. */
export interface SecretKeyOptions {
  algorithm: HmacAlgorithm;
  /** At least as long as the hash: 32, 48, 64 bytes for HS256, HS384, HS512 (RFC 7518 §3.2). */
  secret: string | Buffer | KeyObject;
  /** Written to and demanded from the header (RFC 7515 §4.1.4). None by default. */
  kid?: string;
}

/** A key pair; without the private half it only verifies. */
export interface KeyPairOptions {
  algorithm: AsymmetricAlgorithm;
  privateKey?: KeyMaterial;
  /** Taken from the private key by default. */
  publicKey?: KeyMaterial;
  /** Default: the thumbprint of the public key (RFC 7638). */
  kid?: string;
}

/** One key of this service. */
export type KeyOptions = SecretKeyOptions | KeyPairOptions;

/**
 * The public keys of another service, fetched from its JWK Set (RFC 7517 §5), for services that
 * only verify.
 */
export interface RemoteKeyOptions {
  /** `https:`, or `http:` on a loopback address. */
  jwksUri: string | URL;
  /** What tokens may be signed with; a key of another kind in the set is not used. */
  algorithms: readonly AsymmetricAlgorithm[];
  /**
   * How long after one fetch the next one may follow when a token names a key that the set does
   * not have. After a failure it is tried again after a second, or after this if it is shorter.
   * Default `'30s'`.
   */
  cooldown?: Duration;
  /** How long a fetched set is used until it is fetched again. Default `'10m'`. */
  maxAge?: Duration;
  /** How long a fetch may take. Default `'5s'`. */
  timeout?: Duration;
}

/**
 * One key; several, of which the **first** signs and all verify, each under its own `kid`; or the
 * published keys of another service.
 */
export type KeysOption = KeyOptions | readonly KeyOptions[] | RemoteKeyOptions;
