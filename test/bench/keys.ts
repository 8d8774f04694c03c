import { generateKeyPairSync } from 'node:crypto';

export const ALGORITHMS = ['HS256', 'RS256', 'ES256'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

/** As an application has them in its environment: text. */
export interface BenchKeys {
  readonly algorithm: Algorithm;
  /** The secret, or the private key in PEM. */
  readonly sign: string;
  /** The secret, or the public key in PEM. */
  readonly verify: string;
}

const SECRET = 'a secret of at least thirty-two bytes, for benchmarks only';

export function makeKeys(algorithm: Algorithm): BenchKeys {
  if (algorithm === 'HS256') return { algorithm, sign: SECRET, verify: SECRET };
  const { privateKey, publicKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    algorithm,
    sign: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    verify: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}
