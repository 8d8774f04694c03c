import { CLOCK_SKEW_MS } from '../clock.js';
import { TokenExpiredError, TokenInvalidError } from '../jwt-state.errors.js';
import type { Algorithm } from './signing-keys.js';
import type { Seen, VerifiedToken } from './verified-token.js';

/** `typ` of an access token (RFC 9068 §2.1). */
export const ACCESS_TOKEN_TYPE = 'at+jwt';
/** `typ` of the record that leads from a superseded token to its successor; never a bearer token. */
export const SUCCESSOR_TYPE = 'next+jwt';

/** What a token is held against. */
export interface TokenRules {
  readonly algorithm: Algorithm;
  readonly kid: string | undefined;
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | undefined;
  /** Milliseconds. */
  readonly clockTolerance: number;
  /** Milliseconds; see `denyList.longestLifetime`. */
  readonly longestLifetime: number;
  /** The claims by whose value tokens can be revoked. */
  readonly scopeClaims: readonly string[];
}

const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Header members that bring a key along, or point at one (RFC 7515 §4.1): never followed. */
const FOREIGN_KEYS = ['jku', 'jwk', 'x5u', 'x5c'] as const;

/**
 * What can be said before the signature is checked: the form, and a header that asks for exactly
 * what this service does (RFC 8725 §3.1). Refusing here what the signing library would choke on
 * (a payload that is not an object) or ignore (`crit`, `typ`) keeps its part to the signature.
 */
export function checkForm(token: string, type: string, rules: TokenRules): void {
  if (typeof token !== 'string' || !COMPACT.test(token)) {
    throw new TokenInvalidError('it is not a signed JWT');
  }
  const [header, payload] = token.split('.', 2).map(decodePart);
  if (!header || !payload) throw new TokenInvalidError('it is not a signed JWT');
  if (header.alg !== rules.algorithm) throw new TokenInvalidError('its algorithm is not accepted');
  if (normaliseType(header.typ) !== type) throw new TokenInvalidError('it is of another type');
  if ('crit' in header) throw new TokenInvalidError('it demands an extension (crit)');
  if (FOREIGN_KEYS.some((name) => name in header)) {
    throw new TokenInvalidError('it brings its own key');
  }
  if (header.kid !== rules.kid) throw new TokenInvalidError('its key is not known');
}

function decodePart(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Media types are compared without case and with `application/` optional (RFC 7515 §4.1.9). */
function normaliseType(type: unknown): string | undefined {
  return typeof type === 'string' ? type.toLowerCase().replace(/^application\//, '') : undefined;
}

/**
 * What can be said of a correctly signed payload without the store: every claim has its type, the
 * times hold, and the token was made by and for whom it should be.
 *
 * @throws TokenInvalidError, TokenExpiredError
 */
export function checkClaims(
  payload: unknown,
  rules: TokenRules,
  now: number,
  options: { ignoreExpiration?: boolean } = {},
): VerifiedToken {
  if (!isObject(payload)) throw new TokenInvalidError('its payload is not an object');
  checkTypes(payload);
  checkScopes(payload, rules);
  checkParties(payload, rules);
  checkTimes(payload, rules, now, options.ignoreExpiration ?? false);
  return payload;
}

function checkTypes(payload: Record<string, unknown>): asserts payload is VerifiedToken {
  for (const name of ['sub', 'jti', 'sid'] as const) {
    if (!isIdentifier(payload[name])) throw new TokenInvalidError(`its ${name} is not an id`);
  }
  for (const name of ['exp', 'iat', 'auth_time'] as const) {
    if (!isTime(payload[name])) throw new TokenInvalidError(`its ${name} is not a time`);
  }
  if (payload.nbf !== undefined && !isTime(payload.nbf)) {
    throw new TokenInvalidError('its nbf is not a time');
  }
  if (!isSeen(payload.seen)) throw new TokenInvalidError('its seen is malformed');
}

/** A value that cannot be looked up could not be revoked either. */
function checkScopes(token: VerifiedToken, rules: TokenRules): void {
  for (const name of rules.scopeClaims) {
    const value = token[name];
    const values: unknown[] = Array.isArray(value) ? value : [value ?? 'none'];
    if (!values.every((item) => isIdentifier(item) || Number.isFinite(item))) {
      throw new TokenInvalidError(`its ${name} is not an id`);
    }
  }
}

function checkParties(token: VerifiedToken, rules: TokenRules): void {
  if (rules.issuer !== undefined && token.iss !== rules.issuer) {
    throw new TokenInvalidError('it is from another issuer');
  }
  if (rules.audience !== undefined) {
    const audience: unknown[] = Array.isArray(token.aud) ? token.aud : [token.aud];
    if (!rules.audience.some((name) => audience.includes(name))) {
      throw new TokenInvalidError('it is for another audience');
    }
  }
}

function checkTimes(
  token: VerifiedToken,
  rules: TokenRules,
  now: number,
  ignoreExpiration: boolean,
): void {
  const { clockTolerance } = rules;
  if (token.iat * 1000 > now + Math.max(clockTolerance, CLOCK_SKEW_MS)) {
    throw new TokenInvalidError('it was issued in the future');
  }
  // Against `iat`, not against now: a token that outlives a revocation mark must stay refused when
  // its end has come closer. `iat` lies before the moment its marks were read.
  if ((token.exp - token.iat) * 1000 > rules.longestLifetime) {
    throw new TokenInvalidError('it lives longer than any token may (denyList.longestLifetime)');
  }
  if (token.nbf !== undefined && token.nbf * 1000 > now + clockTolerance) {
    throw new TokenInvalidError('it is not valid yet');
  }
  if (!ignoreExpiration && now >= token.exp * 1000 + clockTolerance) throw new TokenExpiredError();
}

function isSeen(value: unknown): value is Seen {
  return (
    isObject(value) &&
    typeof value.epoch === 'string' &&
    isIdList(value.stale) &&
    isIdList(value.revoked) &&
    (value.until === undefined || isTime(value.until))
  );
}

function isIdList(value: unknown): boolean {
  return (
    value === undefined || (Array.isArray(value) && value.every((id) => typeof id === 'string'))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Not empty, and text that UTF-8 can carry: a lone surrogate or a NUL is nobody's id. */
export function isIdentifier(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed() && !value.includes('\0');
}

/** A NumericDate (RFC 7519 §2) within what arithmetic keeps exact. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER;
}
