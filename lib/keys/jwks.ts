import type { JWK } from 'jose';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { Key } from './key-material.js';
import type { KeyRing } from './key-ring.js';

/** The public members of RSA and EC keys (RFC 7518 §6). Named one by one: nothing else gets out. */
const PUBLIC_MEMBERS = ['kty', 'crv', 'x', 'y', 'n', 'e'] as const;

/** What other services verify with, as a JWK Set (RFC 7517 §5). @throws JwtStateConfigError */
export function publicJwks(ring: KeyRing): { keys: JWK[] } {
  // A secret has no public half: a service with HS keys has nothing to publish of them.
  const pairs = ring.keys.filter(({ verificationKey }) => verificationKey.type !== 'secret');
  if (pairs.length === 0) {
    throw new JwtStateConfigError(
      'jwks: this service has no public key of its own to publish, only secrets or none. Give it a ' +
        'key pair (RS256, PS256 or ES256), or leave `jwks` out.',
    );
  }
  return { keys: pairs.map(toPublicJwk) };
}

function toPublicJwk({ algorithm, kid, verificationKey }: Key): JWK {
  if (verificationKey.asymmetricKeyType === 'rsa-pss') {
    throw new JwtStateConfigError(
      `keys: an RSA-PSS key cannot be published as JWK. Use a plain RSA key: it fits ${algorithm} too.`,
    );
  }
  const exported = verificationKey.export({ format: 'jwk' });
  const members = PUBLIC_MEMBERS.filter((name) => exported[name] !== undefined);
  const jwk = Object.fromEntries(members.map((name) => [name, exported[name]])) as JWK;
  return { ...jwk, ...(kid !== undefined && { kid }), alg: algorithm, use: 'sig' };
}
