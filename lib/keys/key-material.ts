import {
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type JsonWebKey,
  KeyObject,
} from 'node:crypto';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type {
  Algorithm,
  AsymmetricAlgorithm,
  HmacAlgorithm,
  KeyMaterial,
  KeyOptions,
  KeyPairOptions,
  SecretKeyOptions,
} from './key-options.js';

/**
 * A key as the signing library is given it. `KeyObject`s, made once: handed a string, it would
 * parse a PEM on every request.
 */
export interface Key {
  readonly algorithm: Algorithm;
  readonly kid: string | undefined;
  readonly verificationKey: KeyObject;
  /** Absent where there is only the public half. */
  readonly signingKey: KeyObject | undefined;
}

const HASH_BYTES: Record<HmacAlgorithm, number> = { HS256: 32, HS384: 48, HS512: 64 };
const CURVES: Record<string, string> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
};
const RSA_BITS = 2048;
const ASYMMETRIC = /^(RS|PS|ES)(256|384|512)$/;

/** Checks the options of one key and makes it. @throws JwtStateConfigError */
export async function createKey(options: KeyOptions): Promise<Key> {
  const algorithm: unknown = options?.algorithm;
  if (typeof algorithm === 'string' && Object.hasOwn(HASH_BYTES, algorithm)) {
    return fromSecret(options as SecretKeyOptions);
  }
  if (typeof algorithm === 'string' && ASYMMETRIC.test(algorithm)) {
    return fromPair(options as KeyPairOptions);
  }
  throw new JwtStateConfigError(
    `keys.algorithm: ${JSON.stringify(algorithm)} is not supported. Use HS, RS, PS or ES with 256, 384 or 512.`,
  );
}

function fromSecret({ algorithm, secret, kid, ...rest }: SecretKeyOptions): Key {
  if ('privateKey' in rest || 'publicKey' in rest) {
    throw new JwtStateConfigError(
      `keys: ${algorithm} signs with a \`secret\`, not with a key pair. Pick RS256, PS256 or ES256 for a pair.`,
    );
  }
  refuseUnknown(rest, ['algorithm', 'secret', 'kid']);
  if (secret === undefined || secret === null || secret === '') {
    throw new JwtStateConfigError(
      'keys.secret is missing. Set it from the environment, e.g. `openssl rand -base64 64`.',
    );
  }
  const key = toSecretKey(secret);
  const bytes = key.symmetricKeySize ?? 0;
  if (bytes < HASH_BYTES[algorithm]) {
    throw new JwtStateConfigError(
      `keys.secret is too short: ${bytes} bytes, ${algorithm} needs ${HASH_BYTES[algorithm]} ` +
        '(RFC 7518 §3.2). Make one with `openssl rand -base64 64`.',
    );
  }
  return { algorithm, kid: checkKid(kid), verificationKey: key, signingKey: key };
}

function toSecretKey(secret: string | Buffer | KeyObject): KeyObject {
  if (secret instanceof KeyObject) {
    if (secret.type === 'secret') return secret;
    throw new JwtStateConfigError(`keys.secret is a ${secret.type} key, not a secret.`);
  }
  if (typeof secret !== 'string' && !Buffer.isBuffer(secret)) {
    throw new JwtStateConfigError('keys.secret must be a string, a Buffer or a KeyObject.');
  }
  if (/-----BEGIN [A-Z ]+-----/.test(secret.toString('latin1'))) {
    throw new JwtStateConfigError(
      'keys.secret holds a PEM. A public key as HMAC secret lets everyone sign: use `privateKey` ' +
        'and `publicKey` with RS256, PS256 or ES256.',
    );
  }
  return createSecretKey(typeof secret === 'string' ? Buffer.from(secret, 'utf8') : secret);
}

async function fromPair(options: KeyPairOptions): Promise<Key> {
  const { algorithm } = options;
  if ('secret' in options) {
    throw new JwtStateConfigError(`keys: ${algorithm} needs a key pair, not a \`secret\`.`);
  }
  refuseUnknown(options, ['algorithm', 'privateKey', 'publicKey', 'kid']);
  checkJwk('privateKey', 'sign', options);
  checkJwk('publicKey', 'verify', options);
  const signingKey =
    options.privateKey === undefined ? undefined : parse('privateKey', options.privateKey);
  if (!signingKey && options.publicKey === undefined) {
    throw new JwtStateConfigError(
      `keys: ${algorithm} needs \`privateKey\` (to issue) or \`publicKey\` (to verify only).`,
    );
  }
  const derived = signingKey && createPublicKey(signingKey);
  const verificationKey =
    options.publicKey === undefined ? derived : parse('publicKey', options.publicKey);
  if (!verificationKey) throw new JwtStateConfigError('keys.publicKey is missing.');
  checkFits(algorithm, verificationKey);
  const thumbprint = await thumbprintOf(verificationKey);
  if (derived && thumbprint !== (await thumbprintOf(derived))) {
    throw new JwtStateConfigError('keys: `publicKey` does not belong to `privateKey`.');
  }
  return { algorithm, kid: checkKid(options.kid) ?? thumbprint, verificationKey, signingKey };
}

/** What a JWK says that it is for (RFC 7517 §4.2–4.4) must be what it is configured for. */
function checkJwk(
  name: 'privateKey' | 'publicKey',
  operation: 'sign' | 'verify',
  options: KeyPairOptions,
): void {
  const material = options[name];
  if (typeof material !== 'object' || material === null) return;
  if (Buffer.isBuffer(material) || material instanceof KeyObject) return;
  const { use, alg, key_ops: operations } = material as Record<string, unknown>;
  if (use !== undefined && use !== 'sig') {
    throw new JwtStateConfigError(
      `keys.${name} is a JWK with "use": ${JSON.stringify(use)}; tokens are signed with keys for "sig".`,
    );
  }
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes(operation))) {
    throw new JwtStateConfigError(
      `keys.${name} is a JWK whose "key_ops" do not include "${operation}": ${JSON.stringify(operations)}.`,
    );
  }
  if (alg !== undefined && alg !== options.algorithm) {
    throw new JwtStateConfigError(
      `keys.${name} is a JWK with "alg": ${JSON.stringify(alg)}, and keys.algorithm is ` +
        `'${options.algorithm}'. They must be the same.`,
    );
  }
}

function parse(name: 'privateKey' | 'publicKey', material: KeyMaterial): KeyObject {
  const type = name === 'privateKey' ? 'private' : 'public';
  const key = material instanceof KeyObject ? material : create(name, material);
  if (key.type !== type) {
    throw new JwtStateConfigError(`keys.${name} holds a ${key.type} key.`);
  }
  return key;
}

function create(name: 'privateKey' | 'publicKey', material: string | Buffer | JsonWebKey) {
  const make = name === 'privateKey' ? createPrivateKey : createPublicKey;
  try {
    if (typeof material === 'string') return make(material);
    if (Buffer.isBuffer(material)) return make(fromBytes(name, material));
    return make({ key: material, format: 'jwk' });
  } catch {
    // The cause is left out: parsers quote their input, and this one may be a private key.
    const hint =
      typeof material === 'string' && material.includes('\\n')
        ? ' It holds a literal \\n: replace it by a line break, e.g. `value.replaceAll("\\\\n", "\\n")`.'
        : '';
    throw new JwtStateConfigError(`keys.${name} cannot be read as PEM, DER or JWK.${hint}`);
  }
}

function fromBytes(name: 'privateKey' | 'publicKey', key: Buffer) {
  if (key.includes('-----BEGIN')) return { key, format: 'pem' as const };
  const type = name === 'privateKey' ? ('pkcs8' as const) : ('spki' as const);
  return { key, format: 'der' as const, type } as never;
}

/** RFC 7518 §3.1: which key belongs to which algorithm. @throws JwtStateConfigError */
export function checkFits(algorithm: AsymmetricAlgorithm, key: KeyObject): void {
  const type = key.asymmetricKeyType;
  const details = key.asymmetricKeyDetails;
  const curve = CURVES[algorithm];
  if (curve !== undefined) {
    if (type === 'ec' && details?.namedCurve === curve) return;
    throw new JwtStateConfigError(
      `keys: ${algorithm} needs an EC key on ${curve}; this one is ${type} ${details?.namedCurve ?? ''}.`,
    );
  }
  const fits = type === 'rsa' || (type === 'rsa-pss' && algorithm.startsWith('PS'));
  if (!fits) {
    throw new JwtStateConfigError(`keys: ${algorithm} needs an RSA key; this one is ${type}.`);
  }
  if (type === 'rsa-pss') checkPssParameters(algorithm, key);
  if ((details?.publicExponent ?? 0n) < 3n) {
    throw new JwtStateConfigError('keys: the RSA key has no usable public exponent.');
  }
  if ((details?.modulusLength ?? 0) < RSA_BITS) {
    throw new JwtStateConfigError(
      `keys: the RSA key has ${details?.modulusLength} bits; ${RSA_BITS} is the least (RFC 7518 §3.3).`,
    );
  }
}

function refuseUnknown(options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new JwtStateConfigError(
    `keys: there is no option ${JSON.stringify(unknown)}. It knows: ${known.join(', ')}.`,
  );
}

/** The parameters a PSS key is bound to (RFC 7518 §3.5); signing would fail later. */
function checkPssParameters(algorithm: AsymmetricAlgorithm, key: KeyObject): void {
  const bits = Number(algorithm.slice(2));
  const { hashAlgorithm, mgf1HashAlgorithm, saltLength } = key.asymmetricKeyDetails ?? {};
  const hash = `sha${bits}`;
  const fits = hashAlgorithm === hash && mgf1HashAlgorithm === hash;
  if (fits && (saltLength === undefined || saltLength <= bits / 8)) return;
  throw new JwtStateConfigError(
    `keys: ${algorithm} needs an RSA-PSS key for ${hash} with a salt of at most ${bits / 8} bytes; ` +
      `this one is for ${hashAlgorithm ?? 'any hash'}. A plain RSA key fits every PS algorithm.`,
  );
}

function checkKid(kid: string | undefined): string | undefined {
  if (kid === undefined || (typeof kid === 'string' && kid !== '')) return kid;
  throw new JwtStateConfigError('keys.kid must be a string that is not empty.');
}

async function thumbprintOf(key: KeyObject): Promise<string> {
  if (key.asymmetricKeyType === 'rsa-pss') {
    // No JWK form in Node, so no RFC 7638 thumbprint: the hash of its SubjectPublicKeyInfo.
    const spki = key.export({ format: 'der', type: 'spki' });
    return createHash('sha256').update(spki).digest('base64url');
  }
  return calculateJwkThumbprint(key.export({ format: 'jwk' }) as JWK);
}
