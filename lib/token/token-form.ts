import { isUtf8 } from 'node:buffer';
import { TokenInvalidError } from '../jwt-state.errors.js';
import { DEEPEST_CLAIMS, isDeeperThan } from './json-value.js';

/** A JWT taken apart. Nothing of it has been checked but its form. */
export interface TokenForm {
  readonly alg: unknown;
  readonly kid: unknown;
  /** In lower case, without `application/`; empty where there is none. */
  readonly type: string;
  /** Not to be trusted before the signature is. */
  readonly payload: Readonly<Record<string, unknown>>;
}

const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Refresh tokens and records hold claims, some levels down. */
const DEEPEST = DEEPEST_CLAIMS + 8;
/** Header members that bring a key along, or point at one (RFC 7515 §4.1): never followed. */
const FOREIGN_KEYS = ['jku', 'jwk', 'x5u', 'x5c'] as const;

/**
 * What can be said before the signature is checked. Refusing here what the signing library would
 * choke on (a payload that is not an object) or ignore (`crit`) keeps its part to the signature.
 *
 * @throws TokenInvalidError
 */
export function readForm(token: string): TokenForm {
  if (typeof token !== 'string' || !COMPACT.test(token)) {
    throw new TokenInvalidError('it is not a signed JWT');
  }
  const [head = '', body = '', signature = ''] = token.split('.');
  const [header, payload] = [decodePart(head), decodePart(body)];
  if (!header || !payload || !bytesOf(signature))
    throw new TokenInvalidError('it is not a signed JWT');
  if ('crit' in header) throw new TokenInvalidError('it demands an extension (crit)');
  if (FOREIGN_KEYS.some((name) => name in header)) {
    throw new TokenInvalidError('it brings its own key');
  }
  return { alg: header.alg, kid: header.kid, type: normaliseType(header.typ), payload };
}

/** JSON in UTF-8 (RFC 7515 §5.2), nested no deeper than what comes after this can walk. */
function decodePart(part: string): Record<string, unknown> | undefined {
  const bytes = bytesOf(part);
  if (!bytes || !isUtf8(bytes)) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return isObject(value) && !isDeeperThan(DEEPEST, value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Node decodes what nobody encodes like that: a character too many, bits that say nothing (RFC 4648 §3.5). */
function bytesOf(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return bytes.toString('base64url') === part ? bytes : undefined;
}

/** Media types are compared without case and with `application/` optional (RFC 7515 §4.1.9). */
function normaliseType(type: unknown): string {
  if (type === undefined) return '';
  if (typeof type !== 'string' || type === '') return 'unknown';
  return type.toLowerCase().replace(/^application\//, '');
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
