import { type Claims, frozen, type VerifiedToken, withClaims } from './verified-token.js';

/*
 * What a handler is given is a copy of its own: handlers enrich `request.user`, and parallel
 * requests may run on one token. What stands behind it, as it was signed, is remembered here, since
 * judging and replacing must not be done by a copy that anybody may have changed.
 */

class Returned {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: that is what it is for
    return object;
  }
}

/** Puts a private field on an object that is not its own: a WeakMap without its cost. */
class Origin extends Returned {
  readonly #signed: VerifiedToken;

  private constructor(copy: VerifiedToken, signed: VerifiedToken) {
    super(copy);
    this.#signed = signed;
  }

  static set(copy: VerifiedToken, signed: VerifiedToken): void {
    new Origin(copy, signed);
  }

  static of(token: VerifiedToken): VerifiedToken {
    return #signed in (token as object) ? (token as unknown as Origin).#signed : token;
  }
}

/** A token to act on: a copy, with other claims where the truth is newer than the token. */
export function effectiveToken(token: VerifiedToken, claims?: Claims): VerifiedToken {
  const effective = copyOf(claims === undefined ? token : withClaims(token, claims));
  Origin.set(effective, token);
  return effective;
}

/** The token as it was signed. */
export function signedToken(token: VerifiedToken): VerifiedToken {
  return Origin.of(token);
}

function copyOf(token: VerifiedToken): VerifiedToken {
  const copy: Claims = { ...token };
  for (const name in copy) {
    const value = copy[name];
    // `seen` is this module's own, and nobody is to change it.
    if (name === 'seen') frozen(value);
    else if (typeof value === 'object') copy[name] = structuredClone(value);
  }
  return copy as VerifiedToken;
}
