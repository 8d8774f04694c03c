import { ClaimsInvalidError } from '../jwt-state.errors.js';
import { isIdentifier, isScopeNumber } from '../token/token-rules.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';

/** What a mark speaks about: a subject, a session, or the value of a configured claim. */
export interface Scope {
  /** `sub`, `sid`, or the name of the claim. */
  readonly name: string;
  readonly value: string;
}

/** The scopes a token falls under: its subject, its session, its values of configured claims. */
export function scopesOf(token: VerifiedToken, claimNames: readonly string[]): Scope[] {
  return [
    { name: 'sub', value: token.sub },
    { name: 'sid', value: token.sid },
    ...claimScopes(token, claimNames),
  ];
}

/** The scopes among application claims. A list of values is a list of scopes. */
export function claimScopes(claims: Claims, claimNames: readonly string[]): Scope[] {
  return claimNames.flatMap((name) => {
    const value = claims[name];
    if (value === undefined || value === null) return [];
    const values: unknown[] = Array.isArray(value) ? value : [value];
    return values.map((item) => ({ name, value: scopeValue(name, item) }));
  });
}

/** Numbers and their digits are the same value, as they are for subjects. */
function scopeValue(name: string, value: unknown): string {
  const text = isScopeNumber(value) ? String(value) : value;
  if (isIdentifier(text)) return text;
  throw new ClaimsInvalidError(
    `The claim ${JSON.stringify(name)} is listed in denyList.claims, so its value must be a string, ` +
      'a number, or a list of these.',
  );
}

export function sameScope(a: Scope, b: Scope): boolean {
  return a.name === b.name && a.value === b.value;
}
