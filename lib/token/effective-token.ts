import { type Claims, type VerifiedToken, withClaims } from './verified-token.js';

/*
 * What a handler is given is a copy of its own: handlers enrich `request.user`, and parallel
 * requests may run on one token. What stands behind it, as it was signed, is remembered here, since
 * judging and replacing must not be done by a copy that anybody may have changed.
 */

const origins = new WeakMap<VerifiedToken, VerifiedToken>();

/** A token to act on: a copy, with other claims where the truth is newer than the token. */
export function effectiveToken(token: VerifiedToken, claims?: Claims): VerifiedToken {
  const effective = copyOf(claims === undefined ? token : withClaims(token, claims));
  origins.set(effective, token);
  return effective;
}

/** The token as it was signed. */
export function signedToken(token: VerifiedToken): VerifiedToken {
  return origins.get(token) ?? token;
}

function copyOf(token: VerifiedToken): VerifiedToken {
  const copy: Claims = { ...token };
  for (const [name, value] of Object.entries(copy)) {
    if (typeof value === 'object') copy[name] = structuredClone(value);
  }
  return copy as VerifiedToken;
}
