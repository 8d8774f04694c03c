import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { createLocalJWKSet, type JWK, jwtVerify, SignJWT } from 'jose';
import { JwtStateConfigError } from '../../lib/jwt-state.errors.js';
import { publicJwks } from '../../lib/keys/jwks.js';
import type { KeyOptions } from '../../lib/keys/key-options.js';
import { createKeyRing, KeyRing } from '../../lib/keys/key-ring.js';

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rsaPss = generateKeyPairSync('rsa-pss', {
  modulusLength: 2048,
  hashAlgorithm: 'sha256',
  mgf1HashAlgorithm: 'sha256',
});
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' });

const PAIRS: KeyOptions[] = [
  { algorithm: 'RS256', privateKey: rsa.privateKey, kid: 'rs' },
  { algorithm: 'PS384', privateKey: rsa.privateKey, kid: 'ps' },
  { algorithm: 'ES256', privateKey: p256.privateKey, kid: 'es' },
  { algorithm: 'ES512', publicKey: p521.publicKey, kid: 'es-public' },
];
const SECRET: KeyOptions = { algorithm: 'HS256', secret: randomBytes(64), kid: 'hs' };

const published = async (options: KeyOptions[]) => publicJwks(await createKeyRing(options)).keys;

function refusal(ring: KeyRing): string {
  try {
    return `published: ${JSON.stringify(publicJwks(ring))}`;
  } catch (error) {
    expect(error).toBeInstanceOf(JwtStateConfigError);
    return (error as Error).message;
  }
}

describe('what is published', () => {
  it('is every key pair, in order, with what it is for', async () => {
    const names = (await published(PAIRS)).map(({ kid, alg, use }) => ({ kid, alg, use }));
    expect(names).toEqual([
      { kid: 'rs', alg: 'RS256', use: 'sig' },
      { kid: 'ps', alg: 'PS384', use: 'sig' },
      { kid: 'es', alg: 'ES256', use: 'sig' },
      { kid: 'es-public', alg: 'ES512', use: 'sig' },
    ]);
  });

  it('is enough to verify with', async () => {
    const ring = await createKeyRing(PAIRS);
    const jwks = createLocalJWKSet(publicJwks(ring));
    for (const { algorithm, kid = '', signingKey } of ring.keys) {
      if (!signingKey) continue;
      const signing = new SignJWT({ sub: 'alice' }).setProtectedHeader({ alg: algorithm, kid });
      const { payload } = await jwtVerify(await signing.sign(signingKey), jwks);
      expect(payload.sub).toBe('alice');
    }
  });

  it('is named by its thumbprint where it has no name', async () => {
    const [jwk] = await published([{ algorithm: 'RS256', privateKey: rsa.privateKey }]);
    expect(jwk?.kid).toMatch(/^[\w-]{43}$/);
  });
});

describe('what is never published', () => {
  const secrets = (keys: JWK[]) =>
    keys.flatMap((jwk) => PRIVATE_MEMBERS.filter((name) => Object.hasOwn(jwk, name)));

  it('is a private member or a secret, whatever the ring holds', async () => {
    const rings = fc.shuffledSubarray([...PAIRS, SECRET], { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(rings, async (options) => {
        const ring = await createKeyRing(options);
        const pairs = options.filter(({ algorithm }) => algorithm !== 'HS256');
        fc.pre(pairs.length > 0);
        const { keys } = publicJwks(ring);
        expect(secrets(keys)).toEqual([]);
        expect(keys.map(({ kid }) => kid)).toEqual(pairs.map(({ kid }) => kid));
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    ['RS256', rsa.privateKey],
    ['ES256', p256.privateKey],
  ] as const)(
    'is a private member of %s, even if the ring had the wrong half',
    (algorithm, key) => {
      const mixedUp = { algorithm, kid: 'k1', verificationKey: key, signingKey: key };
      expect(key.export({ format: 'jwk' })).toHaveProperty('d');
      expect(secrets(publicJwks(new KeyRing([mixedUp])).keys)).toEqual([]);
    },
  );

  it('is an empty set', async () => {
    expect(refusal(await createKeyRing(SECRET))).toMatch(
      /no public key of its own to publish.*key pair/s,
    );
  });

  it.each<[string, KeyObject]>([
    ['private', rsaPss.privateKey],
    ['public', rsaPss.publicKey],
  ])('is an RSA-PSS key, which has no JWK form (%s)', async (half, key) => {
    const pss = { algorithm: 'PS256', [`${half}Key`]: key } as KeyOptions;
    const ring = await createKeyRing([...PAIRS, pss]);
    expect(refusal(ring)).toMatch(/RSA-PSS.*plain RSA key.*PS256/);
  });
});
