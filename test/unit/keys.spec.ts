import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  type RSAPSSKeyPairKeyObjectOptions,
  randomBytes,
} from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { calculateJwkThumbprint } from 'jose';
import { JwtStateConfigError } from '../../lib/jwt-state.errors.js';
import { createKey } from '../../lib/keys/key-material.js';
import type { KeyOptions } from '../../lib/keys/key-options.js';
import { assembled, ending, keysOf } from '../support/setup.js';

// Made once: RSA keys take their time.
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const shortRsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
const rsaPss = generateKeyPairSync('rsa-pss', {
  modulusLength: 2048,
  hashAlgorithm: 'sha256',
  mgf1HashAlgorithm: 'sha256',
});
const ec = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ES512: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
};
const otherEc = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const bitcoin = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
const ed25519 = generateKeyPairSync('ed25519');

const privatePem = (key: KeyObject) => key.export({ format: 'pem', type: 'pkcs8' }) as string;
const publicPem = (key: KeyObject) => key.export({ format: 'pem', type: 'spki' }) as string;

/** What goes around a key that works: issue, verify, reissue with its signed successor record. */
async function roundTrip(options: unknown): Promise<void> {
  const keys = await keysOf(options as KeyOptions);
  const { tokens, resolver } = assembled({ claims: () => ({}) }, { keys });
  const issued = await tokens.issue('alice');
  const [head = ''] = issued.accessToken.split('.');
  const header = JSON.parse(Buffer.from(head, 'base64url').toString());
  expect(header).toEqual({
    alg: keys.signing?.algorithm,
    typ: 'at+jwt',
    ...(keys.signing?.kid !== undefined && { kid: keys.signing.kid }),
  });
  await tokens.verify(issued.accessToken);
  await tokens.markStale({ sub: 'alice' });
  const { issued: next } = await resolver.resolve(issued.claims, 'reissue');
  expect((await tokens.verify(issued.accessToken)).jti).toBe(next?.claims.jti);
  const cut = `${issued.accessToken.slice(0, -8)}AAAAAAAA`;
  expect(await ending(tokens.verify(cut))).toBe('TOKEN_INVALID');
}

async function bootError(options: unknown): Promise<string> {
  const error = await createKey(options as KeyOptions).then(
    () => new Error('it was accepted'),
    (reason: Error) => reason,
  );
  expect(error).toBeInstanceOf(JwtStateConfigError);
  return error.message;
}

describe('every algorithm signs and verifies', () => {
  it.each([
    ['HS256', 32],
    ['HS384', 48],
    ['HS512', 64],
  ])('%s, with a secret of %p bytes', async (algorithm, bytes) => {
    const secret = randomBytes(bytes);
    await roundTrip({ algorithm, secret });
    await roundTrip({ algorithm, secret: 'x'.repeat(bytes) });
    await roundTrip({ algorithm, secret: createSecretKey(secret), kid: 'k1' });
  });

  it.each(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'])('%s', async (algorithm) => {
    await roundTrip({ algorithm, privateKey: rsa.privateKey });
  });

  it.each(['PS256', 'PS384', 'PS512'])('%s with an RSA-PSS key made for it', async (algorithm) => {
    const hash = algorithm.replace('PS', 'sha');
    const { privateKey } = generateKeyPairSync('rsa-pss', {
      modulusLength: 2048,
      hashAlgorithm: hash,
      mgf1HashAlgorithm: hash,
    });
    await roundTrip({ algorithm, privateKey });
  });

  it.each(['ES256', 'ES384', 'ES512'] as const)('%s', async (algorithm) => {
    await roundTrip({ algorithm, privateKey: ec[algorithm].privateKey });
  });
});

describe('a key may come as', () => {
  const { privateKey, publicKey } = ec.ES256;
  it.each([
    ['a KeyObject', privateKey, publicKey],
    ['PEM text', privatePem(privateKey), publicPem(publicKey)],
    ['PEM bytes', Buffer.from(privatePem(privateKey)), Buffer.from(publicPem(publicKey))],
    ['SEC1 PEM', privateKey.export({ format: 'pem', type: 'sec1' }), publicKey],
    [
      'DER',
      privateKey.export({ format: 'der', type: 'pkcs8' }),
      publicKey.export({ format: 'der', type: 'spki' }),
    ],
    ['JWK', privateKey.export({ format: 'jwk' }), publicKey.export({ format: 'jwk' })],
  ])('%s, the pair or the private half alone', async (_, ownPrivate, ownPublic) => {
    await roundTrip({ algorithm: 'ES256', privateKey: ownPrivate, publicKey: ownPublic });
    await roundTrip({ algorithm: 'ES256', privateKey: ownPrivate });
    const verifying = await createKey({
      algorithm: 'ES256',
      publicKey: ownPublic as never,
    });
    expect(verifying.signingKey).toBeUndefined();
    expect(verifying.verificationKey.type).toBe('public');
  });

  it('PKCS#1 PEM, for RSA', async () => {
    await roundTrip({
      algorithm: 'RS256',
      privateKey: rsa.privateKey.export({ format: 'pem', type: 'pkcs1' }),
      publicKey: rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }),
    });
  });
});

describe('keys become KeyObjects, once', () => {
  it('whatever they came as', async () => {
    const pair = await createKey({
      algorithm: 'RS256',
      privateKey: privatePem(rsa.privateKey),
    });
    expect(pair.signingKey?.type).toBe('private');
    expect(pair.verificationKey.type).toBe('public');
    const secret = await createKey({ algorithm: 'HS256', secret: 'x'.repeat(32) });
    expect(secret.signingKey?.type).toBe('secret');
    expect(secret.verificationKey).toBe(secret.signingKey);
  });
});

describe('kid', () => {
  it('is the thumbprint of the public key by default (RFC 7638), whatever the key came as', async () => {
    const jwk = rsa.publicKey.export({ format: 'jwk' });
    const expected = await calculateJwkThumbprint(jwk as never);
    for (const keys of [
      { privateKey: rsa.privateKey },
      { privateKey: privatePem(rsa.privateKey), publicKey: publicPem(rsa.publicKey) },
      { publicKey: jwk },
    ]) {
      expect((await createKey({ algorithm: 'RS256', ...keys })).kid).toBe(expected);
    }
  });

  it('has the same value in every service that has the same RSA-PSS key', async () => {
    const issuing = await createKey({ algorithm: 'PS256', privateKey: rsaPss.privateKey });
    const verifying = await createKey({ algorithm: 'PS256', publicKey: rsaPss.publicKey });
    expect(issuing.kid).toBe(verifying.kid);
    expect(issuing.kid).toMatch(/^[\w-]{43}$/);
  });

  it('is the one given', async () => {
    const keys = { algorithm: 'ES256', privateKey: ec.ES256.privateKey, kid: 'k1' } as const;
    expect((await createKey(keys)).kid).toBe('k1');
  });

  it('is absent for a secret, unless it is given', async () => {
    const secret = 'x'.repeat(32);
    expect((await createKey({ algorithm: 'HS256', secret })).kid).toBeUndefined();
    expect((await createKey({ algorithm: 'HS256', secret, kid: 'k' })).kid).toBe('k');
  });

  it.each([[''], [5], [null], [{}]])('%j stops the boot', async (kid) => {
    await bootError({ algorithm: 'HS256', secret: 'x'.repeat(32), kid });
    await bootError({ algorithm: 'ES256', privateKey: ec.ES256.privateKey, kid });
  });
});

describe('the boot stops at', () => {
  it.each([
    ['HS256', 32],
    ['HS384', 48],
    ['HS512', 64],
  ])('a secret for %s that is shorter than %p bytes', async (algorithm, bytes) => {
    for (const secret of [
      'x'.repeat(bytes - 1),
      randomBytes(bytes - 1),
      createSecretKey(randomBytes(bytes - 1)),
    ]) {
      const message = await bootError({ algorithm, secret });
      expect(message).toContain(`${bytes - 1} bytes`);
      expect(message).toContain(`needs ${bytes}`);
    }
  });

  it('a secret counted in bytes, not in characters', async () => {
    await roundTrip({ algorithm: 'HS256', secret: 'é'.repeat(16) });
    await bootError({ algorithm: 'HS256', secret: 'é'.repeat(15) });
  });

  it.each([[undefined], [null], ['']])('the missing secret %j', async (secret) => {
    expect(await bootError({ algorithm: 'HS256', secret })).toContain('missing');
  });

  it.each([[5], [true], [{}], [['x'.repeat(32)]], [new Uint8Array(32)]])(
    'a secret of another kind: %p',
    async (secret) => {
      await bootError({ algorithm: 'HS256', secret });
    },
  );

  it.each([
    ['a public PEM', publicPem(rsa.publicKey)],
    ['a private PEM', privatePem(ec.ES512.privateKey)],
    ['PEM bytes', Buffer.from(publicPem(rsa.publicKey))],
    ['a PEM with literal \\n', publicPem(rsa.publicKey).replaceAll('\n', '\\n')],
    ['a public KeyObject', rsa.publicKey],
    ['a private KeyObject', ec.ES256.privateKey],
  ])('%s as secret', async (_, secret) => {
    await bootError({ algorithm: 'HS256', secret });
  });

  it.each([
    [undefined],
    [null],
    ['none'],
    [''],
    ['HS1'],
    ['hs256'],
    ['RS257'],
    ['RS256 '],
    ['EdDSA'],
    ['ES256K'],
    ['toString'],
    ['constructor'],
    [['HS256']],
    [['RS256']],
    [{}],
  ])('the algorithm %j', async (algorithm) => {
    const keys = { privateKey: rsa.privateKey };
    await bootError({ algorithm, secret: 'x'.repeat(64) });
    await bootError({ algorithm, ...keys });
  });

  it.each([[undefined], [null], [{}], ['HS256'], [5]])('keys: %j', async (keys) => {
    await bootError(keys);
  });

  it('a key pair for HS, a secret for RS', async () => {
    const secret = 'x'.repeat(64);
    await bootError({ algorithm: 'HS256', secret, publicKey: rsa.publicKey });
    await bootError({ algorithm: 'HS256', privateKey: rsa.privateKey });
    await bootError({ algorithm: 'RS256', secret });
    await bootError({ algorithm: 'RS256', secret, privateKey: rsa.privateKey });
  });

  it('no key at all', async () => {
    await bootError({ algorithm: 'RS256' });
    await bootError({ algorithm: 'ES256', privateKey: undefined, publicKey: undefined });
    await bootError({ algorithm: 'ES256', privateKey: null });
    await bootError({ algorithm: 'ES256', publicKey: '' });
  });

  it.each(['RS256', 'PS512'])('an RSA key of 1024 bits, for %s', async (algorithm) => {
    expect(await bootError({ algorithm, privateKey: shortRsa.privateKey })).toContain('2048');
    expect(await bootError({ algorithm, publicKey: shortRsa.publicKey })).toContain('2048');
  });

  it.each([
    ['ES256', ec.ES384],
    ['ES256', ec.ES512],
    ['ES384', ec.ES256],
    ['ES512', ec.ES256],
    ['ES256', bitcoin],
    ['ES256', rsa],
    ['ES256', ed25519],
    ['RS256', ec.ES256],
    ['RS256', rsaPss],
    ['RS256', ed25519],
    ['PS256', ec.ES256],
  ])('a key that does not fit %s', async (algorithm, pair) => {
    expect(await bootError({ algorithm, privateKey: pair.privateKey })).toContain(algorithm);
    expect(await bootError({ algorithm, publicKey: pair.publicKey })).toContain(algorithm);
  });

  it.each([
    // The signing library takes none without parameters.
    ['PS256', {}],
    ['PS512', { hashAlgorithm: 'sha256', mgf1HashAlgorithm: 'sha256' }],
    ['PS256', { hashAlgorithm: 'sha512', mgf1HashAlgorithm: 'sha512' }],
    ['PS256', { hashAlgorithm: 'sha256', mgf1HashAlgorithm: 'sha512' }],
    ['PS256', { hashAlgorithm: 'sha256', mgf1HashAlgorithm: 'sha256', saltLength: 64 }],
  ])(
    'an RSA-PSS key that was made for something else than %s: %j',
    async (algorithm, parameters) => {
      const made = { modulusLength: 2048, ...parameters } as RSAPSSKeyPairKeyObjectOptions;
      const pair = generateKeyPairSync('rsa-pss', made);
      await bootError({ algorithm, privateKey: pair.privateKey });
    },
  );

  it('a public key where the private one belongs', async () => {
    const { publicKey } = ec.ES256;
    for (const privateKey of [
      publicKey,
      publicPem(publicKey),
      Buffer.from(publicPem(publicKey)),
      publicKey.export({ format: 'der', type: 'spki' }),
      publicKey.export({ format: 'jwk' }),
    ]) {
      expect(await bootError({ algorithm: 'ES256', privateKey })).toContain('privateKey');
    }
  });

  describe('a JWK that says that it is for something else', () => {
    const pair = {
      privateKey: ec.ES256.privateKey.export({ format: 'jwk' }),
      publicKey: ec.ES256.publicKey.export({ format: 'jwk' }),
    };
    const boot = (half: 'privateKey' | 'publicKey', members: object) =>
      bootError({ algorithm: 'ES256', [half]: { ...pair[half], ...members } });

    it.each([
      [{ use: 'enc' }, '"use": "enc"'],
      [{ use: '' }, '"use": ""'],
      [{ use: null }, '"use": null'],
      [{ key_ops: [] }, '"key_ops"'],
      [{ key_ops: ['encrypt', 'wrapKey'] }, '"key_ops"'],
      [{ key_ops: 'sign verify' }, '"key_ops"'],
      [{ alg: 'ES384' }, '"alg": "ES384"'],
      [{ alg: 'ECDH-ES' }, '"alg": "ECDH-ES"'],
    ])('%j', async (members, message) => {
      for (const half of ['privateKey', 'publicKey'] as const) {
        const text = await boot(half, members);
        expect(text).toContain(`keys.${half}`);
        expect(text).toContain(message);
        expect(text).not.toContain(pair.privateKey.d as string);
      }
    });

    it('may be for this', async () => {
      const sound = { use: 'sig', alg: 'ES256' };
      await roundTrip({
        algorithm: 'ES256',
        privateKey: { ...pair.privateKey, ...sound, key_ops: ['sign'] },
        publicKey: { ...pair.publicKey, ...sound, key_ops: ['verify'] },
      });
      await roundTrip({
        algorithm: 'ES256',
        privateKey: { ...pair.privateKey, ...sound, key_ops: ['verify', 'sign'] },
      });
    });

    it('cannot sign with what is for verifying only, nor the other way round', async () => {
      expect(await boot('privateKey', { key_ops: ['verify'] })).toContain('"sign"');
      expect(await boot('publicKey', { key_ops: ['sign'] })).toContain('"verify"');
    });
  });

  it('a private KeyObject where the public one belongs', async () => {
    const { privateKey } = ec.ES256;
    expect(await bootError({ algorithm: 'ES256', publicKey: privateKey })).toContain('publicKey');
  });

  it('two halves of different pairs', async () => {
    const rs = { algorithm: 'RS256', privateKey: rsa.privateKey, publicKey: otherRsa.publicKey };
    expect(await bootError(rs)).toContain('does not belong');
    const es = {
      algorithm: 'ES256',
      privateKey: otherEc.privateKey,
      publicKey: ec.ES256.publicKey,
    };
    expect(await bootError(es)).toContain('does not belong');
  });

  it('two halves of which one does not fit the algorithm', async () => {
    const { publicKey } = ec.ES256;
    await bootError({ algorithm: 'ES256', privateKey: rsa.privateKey, publicKey });
    await bootError({
      algorithm: 'RS256',
      privateKey: ec.ES256.privateKey,
      publicKey: rsa.publicKey,
    });
  });

  it('a PEM with literal \\n, and says so', async () => {
    const privateKey = privatePem(rsa.privateKey).replaceAll('\n', '\\n');
    const message = await bootError({ algorithm: 'RS256', privateKey });
    expect(message).toContain('literal \\n');
    // The advice works.
    await roundTrip({ algorithm: 'RS256', privateKey: privateKey.replaceAll('\\n', '\n') });
  });

  it('what is no key, without quoting it', async () => {
    const half = privatePem(rsa.privateKey).slice(0, 800);
    for (const privateKey of [
      half,
      'my-private-key',
      Buffer.from('my-private-key'),
      { kty: 'EC' },
      5,
    ]) {
      const message = await bootError({ algorithm: 'RS256', privateKey });
      expect(message).not.toContain('my-private-key');
      expect(message).not.toContain(half.slice(40, 80));
    }
  });

  it.each([
    { algorithm: 'HS256', secret: 'x'.repeat(32), keyid: 'k1' },
    { algorithm: 'HS256', secret: 'x'.repeat(32), expiresIn: '15m' },
    { algorithm: 'ES256', privateKey: ec.ES256.privateKey, pubicKey: otherEc.publicKey },
    { algorithm: 'ES256', publicKey: ec.ES256.publicKey, privatKey: ec.ES256.privateKey },
  ])('an unknown option among the keys', async (keys) => {
    await bootError(keys);
  });
});

describe('a service with the public key only', () => {
  it('verifies what the issuing service signed, and signs nothing', async () => {
    const { privateKey } = ec.ES256;
    const issuing = assembled({}, { keys: await keysOf({ algorithm: 'ES256', privateKey }) });
    const publicKey = publicPem(createPublicKey(createPrivateKey(privatePem(privateKey))));
    const keys = await keysOf({ algorithm: 'ES256', publicKey });
    const { tokens, verifier } = assembled({}, { keys });
    const issued = await issuing.tokens.issue('alice');
    expect((await verifier.verify(issued.accessToken)).sub).toBe('alice');
    expect(await ending(tokens.issue('alice'))).toBe('NO_SIGNING_KEY');
    expect(await ending(tokens.reissue(issued.claims))).toBe('NO_SIGNING_KEY');
    expect(await ending(tokens.refresh(issued.accessToken))).toBe('NO_SIGNING_KEY');
  });
});
