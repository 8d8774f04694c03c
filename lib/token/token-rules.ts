import { CLOCK_SKEW_MS } from '../clock.js';
import { TokenExpiredError, TokenInvalidError } from '../jwt-state.errors.js';
import { isObject } from './token-form.js';
import type { Seen, VerifiedToken } from './verified-token.js';

/** Says that it does not matter who a token is from, or for. */
export const ANY = '*';

/** What a token is held against. */
export interface TokenRules {
  /** `undefined`: it may name none; see {@link ANY}. */
  readonly issuer: string | undefined;
  /** `undefined`: it may name none; {@link ANY} alone: whatever it names. */
  readonly audience: readonly string[] | typeof ANY | undefined;
  /** Milliseconds. */
  readonly clockTolerance: number;
  /** Milliseconds; see `denyList.longestLifetime`. */
  readonly longestLifetime: number;
  /** The claims by whose value tokens can be revoked. */
  readonly scopeClaims: readonly string[];
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
    if (!values.every((item) => isIdentifier(item) || isScopeNumber(item))) {
      throw new TokenInvalidError(`its ${name} is not an id`);
    }
  }
}

/** A service that has no name is nobody's audience (RFC 7519 §4.1.3), and has no issuer to be from. */
function checkParties({ iss, aud }: VerifiedToken, { issuer, audience }: TokenRules): void {
  if (issuer !== ANY && iss !== issuer) {
    throw new TokenInvalidError('it is from another issuer');
  }
  if (audience === ANY || (audience === undefined && aud === undefined)) return;
  const named: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!audience?.some((name) => named.includes(name))) {
    throw new TokenInvalidError('it is for another audience');
  }
}

/** The part of {@link checkClaims} that can change while a token does not. */
export function checkTimes(
  token: VerifiedToken,
  rules: TokenRules,
  now: number,
  ignoreExpiration = false,
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
    (value.until === undefined || isTime(value.until)) &&
    (value.prev === undefined || isIdentifier(value.prev)) &&
    (value.login === undefined || isLogIn(value.login))
  );
}

function isLogIn(value: unknown): boolean {
  return (
    isObject(value) &&
    (value.end === undefined || isTime(value.end)) &&
    (value.persistent === undefined || typeof value.persistent === 'boolean')
  );
}

function isIdList(value: unknown): boolean {
  return (
    value === undefined || (Array.isArray(value) && value.every((id) => typeof id === 'string'))
  );
}

/** Not empty, and text that UTF-8 can carry: a lone surrogate or a NUL is nobody's id. */
export function isIdentifier(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed() && !value.includes('\0');
}

/** What is told from its neighbours: beyond 2^53 many whole numbers are one. */
export function isScopeNumber(value: unknown): value is number {
  return Number.isFinite(value) && (Number.isSafeInteger(value) || !Number.isInteger(value));
}

/** A NumericDate (RFC 7519 §2) within what arithmetic keeps exact. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER;
}
