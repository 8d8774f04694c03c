import { claimScopes, type Scope } from '../deny-list/scopes.js';
import type { StateKeys } from '../state/state-keys.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** The scopes whose marks concern a token, and the records to read for them. */
export class SessionScopes {
  constructor(
    private readonly keys: StateKeys,
    /** The claims by whose value sessions are revoked and marked stale. */
    readonly claims: readonly string[],
  ) {}

  /** Its subject, and its values of the configured claims. */
  of(token: VerifiedToken): Scope[] {
    return [{ name: 'sub', value: token.sub }, ...claimScopes(token, this.claims)];
  }

  keysOf(token: VerifiedToken): string[] {
    return this.of(token).map((scope) => this.keys.scope(scope));
  }

  /** The scopes of one token that another one is not in. */
  missing(from: VerifiedToken, other: VerifiedToken): Scope[] {
    const present = new Set(this.keysOf(other));
    return this.of(from).filter((scope) => !present.has(this.keys.scope(scope)));
  }
}
