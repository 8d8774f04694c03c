import type { Scope } from '../deny-list/scopes.js';
import { InvalidTargetError } from '../jwt-state.errors.js';
import { isIdentifier, isScopeNumber } from '../token/token-rules.js';
import { isRefreshToken, type TokenVerifier } from '../token/token-verifier.js';
import {
  isVerifiedToken,
  type ReservedClaims,
  type VerifiedToken,
} from '../token/verified-token.js';
import { isRefusal } from './refusals.js';

type ClaimScope = { readonly [claim: string]: string | number };

/** A token, for the session it belongs to: its text, or what `@CurrentToken()` or `verify()` gave. */
export type TokenTarget = { readonly token: string | ReservedClaims };

/** Whose state has changed: a subject, a session, or everybody with the value of a claim. */
export type StaleTarget = { readonly sub: string | number } | { readonly sid: string } | ClaimScope;

/** What to revoke; see `TokenService.revoke`. */
export type RevokeTarget =
  | TokenTarget
  | ReservedClaims
  | { readonly sub: string | number; readonly except: ReservedClaims }
  | StaleTarget;

/** @throws InvalidTargetError unless exactly one scope is named, with a value */
export function readScope(target: unknown, claimNames: readonly string[]): Scope {
  if (typeof target === 'string') {
    throw new InvalidTargetError(
      'A text alone can be anything: write { sub } for a user id, { sid } for a session, or, in revoke(), { token }.',
    );
  }
  const entries = typeof target === 'object' && target !== null ? Object.entries(target) : [];
  const [entry, ...others] = entries;
  if (!entry || others.length > 0) {
    throw new InvalidTargetError('The target must name one scope, such as { sub } or { sid }.');
  }
  const [name, value] = entry;
  if (name !== 'sub' && name !== 'sid' && !claimNames.includes(name)) {
    throw new InvalidTargetError(
      `${JSON.stringify(name)} is not a scope: use sub, sid, or a claim listed in denyList.claims.`,
    );
  }
  // An undefined id must never become "everything" or "nothing".
  const text = typeof value === 'number' && canBe(name, value) ? String(value) : value;
  if (isIdentifier(text)) return { name, value: text };
  const form = name === 'sid' ? '' : ', or a number as tokens can have it (whole and safe for sub)';
  throw new InvalidTargetError(
    `The ${name} to act on must be a string that is not empty${form}. It is ${describe(value)}.`,
  );
}

/** What no token can have would be reported as done. */
function canBe(name: string, value: number): boolean {
  if (name === 'sid') return false;
  return name === 'sub' ? Number.isSafeInteger(value) : isScopeNumber(value);
}

function describe(value: unknown): string {
  return typeof value === 'number' || value === null ? `${value}` : typeof value;
}

/** The same for `revoke`, which also takes tokens and an exception. */
export async function readTarget(
  target: RevokeTarget,
  verifier: TokenVerifier,
  claimNames: readonly string[],
): Promise<{ scope: Scope; except?: VerifiedToken }> {
  if (typeof target === 'object' && target !== null && 'token' in target) {
    const { token, ...rest } = target;
    if (Object.keys(rest).length > 0) {
      throw new InvalidTargetError('A `token` names its session: put nothing beside it.');
    }
    return { scope: { name: 'sid', value: await sessionOf(token, verifier) } };
  }
  if (isVerifiedToken(target)) return { scope: readScope({ sid: target.sid }, claimNames) };
  if (typeof target === 'object' && target !== null && 'except' in target) {
    const { except, ...rest } = target;
    const scope = readScope(rest, claimNames);
    if (scope.name === 'sub' && isVerifiedToken(except) && except.sub === scope.value) {
      return { scope, except };
    }
    throw new InvalidTargetError(
      '`except` takes the live token of the same subject, as @CurrentToken() gives it.',
    );
  }
  return { scope: readScope(target, claimNames) };
}

/** An expired token still names a session whose later tokens may live. */
async function sessionOf(token: unknown, verifier: TokenVerifier): Promise<string> {
  if (isVerifiedToken(token)) return token.sid;
  if (typeof token !== 'string') {
    throw new InvalidTargetError(`The token to revoke must be its text. It is ${describe(token)}.`);
  }
  const options = { ignoreExpiration: true };
  try {
    const { sid } = isRefreshToken(token)
      ? await verifier.verifyRefreshToken(token, options)
      : await verifier.verify(token, options);
    return sid;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    throw new InvalidTargetError(`Nothing was revoked. ${error.message}`, error);
  }
}
