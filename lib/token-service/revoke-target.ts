import type { Scope } from '../deny-list/scopes.js';
import { InvalidTargetError } from '../jwt-state.errors.js';
import { isIdentifier } from '../token/token-rules.js';
import { isRefreshToken, type TokenVerifier } from '../token/token-verifier.js';
import {
  isVerifiedToken,
  type ReservedClaims,
  type VerifiedToken,
} from '../token/verified-token.js';

type ClaimScope = { readonly [claim: string]: string | number };

/** Whose state has changed: a subject, a session, or everybody with the value of a claim. */
export type StaleTarget = { readonly sub: string | number } | { readonly sid: string } | ClaimScope;

/** What to revoke; see `TokenService.revoke`. */
export type RevokeTarget =
  | string
  | ReservedClaims
  | { readonly sub: string | number; readonly except: ReservedClaims }
  | StaleTarget;

/** @throws InvalidTargetError unless exactly one scope is named, with a value */
export function readScope(target: unknown, claimNames: readonly string[]): Scope {
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
  const text = typeof value === 'number' && Number.isFinite(value) ? String(value) : value;
  if (isIdentifier(text)) return { name, value: text };
  throw new InvalidTargetError(`The ${name} to act on must be a string that is not empty.`);
}

/** The same for `revoke`, which also takes tokens and an exception. */
export async function readTarget(
  target: RevokeTarget,
  verifier: TokenVerifier,
  claimNames: readonly string[],
): Promise<{ scope: Scope; except?: VerifiedToken }> {
  if (typeof target === 'string') {
    return { scope: { name: 'sid', value: await sessionOf(target, verifier) } };
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
async function sessionOf(token: string, verifier: TokenVerifier): Promise<string> {
  const options = { ignoreExpiration: true };
  const { sid } = isRefreshToken(token)
    ? await verifier.verifyRefreshToken(token, options)
    : await verifier.verify(token, options);
  return sid;
}
