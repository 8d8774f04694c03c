import { isDeepStrictEqual } from 'node:util';
import { missingScopes } from '../deny-list/deny-list.js';
import type { Scope } from '../deny-list/scopes.js';
import { isObject } from '../token/token-form.js';
import { timeOfTokenId } from '../token/token-id.js';
import { applicationClaims, type VerifiedToken, withClaims } from '../token/verified-token.js';

/*
 * What a session has chosen since its log-in, and where it has moved: explicit changes, and the
 * scopes (a tenant) that the claims source has put it into or taken it out of. An access token hands
 * that on by itself; a refresh token was made before it, so it is kept beside, claim by claim, and
 * laid over the refresh token by whoever exchanges that.
 */

export interface SessionRecord {
  readonly choices: Readonly<Record<string, Choice>>;
  /** The revocations that were there when the session entered the scopes it has chosen. */
  readonly revoked: readonly string[];
  /**
   * The scopes that the last change has left, until somebody has looked and found that they were not
   * revoked before. As long as that is open, the session is judged by them as well.
   */
  readonly left?: readonly Scope[];
}

/** The value of one claim, and the token that set it. Of two, the one that was written later counts. */
export interface Choice {
  /** Absent: the claim is gone. */
  readonly value?: unknown;
  readonly jti: string;
  /** That token may still come too late and take it back: nobody relies on it without a word. */
  readonly tentative?: boolean;
}

/** A token with what its session has chosen since it was made, and what that knows. */
export function continued(token: VerifiedToken, record: SessionRecord | undefined): VerifiedToken {
  if (!record) return token;
  const claims = applicationClaims(token);
  for (const [name, { value }] of Object.entries(record.choices)) {
    if (value === undefined) delete claims[name];
    else claims[name] = value;
  }
  const revoked = [...new Set([...(token.seen.revoked ?? []), ...record.revoked])];
  return {
    ...withClaims(token, claims),
    seen: { ...token.seen, ...(revoked.length > 0 && { revoked }) },
  };
}

/** The same for whoever judges it: in the scopes it may have left too late, too. */
export function asJudged(token: VerifiedToken, record: SessionRecord | undefined): VerifiedToken {
  // One from elsewhere is held against the times of marks, and not against what its session has seen.
  if (token.seen.origin !== undefined) return token;
  const current = continued(token, record);
  if (!record?.left) return current;
  const claims = applicationClaims(current);
  for (const { name, value } of record.left) claims[name] = [...listOf(claims[name]), value];
  return withClaims(current, claims);
}

/**
 * Whether a record says nothing that the other does not, for sure. What they have left is another matter.
 */
export function addsNothing(record: SessionRecord, other: SessionRecord): boolean {
  return (
    record.revoked.every((id) => other.revoked.includes(id)) &&
    Object.entries(record.choices).every(([name, { value, jti }]) => {
      const choice = other.choices[name];
      if (choice === undefined || (choice.tentative && choice.jti !== jti)) return false;
      return isDeepStrictEqual(choice.value, value);
    })
  );
}

/** Whether a record has left a scope that the other has not. */
export function leavesMore(record: SessionRecord, other: SessionRecord): boolean {
  return missingScopes(record.left ?? [], other.left ?? []).length > 0;
}

/** The claims about which a record is not sure. */
export function tentativeIn({ choices }: SessionRecord): string[] {
  return Object.keys(choices).filter((name) => choices[name]?.tentative);
}

/** The newest token that has chosen something. */
export function newestIn({ choices }: SessionRecord): string | undefined {
  const ids = Object.values(choices).map(({ jti }) => jti);
  return ids.length === 0 ? undefined : ids.reduce((a, b) => (isNewer(b, a) ? b : a));
}

/** Its signature has been checked; a form of another version is no record. */
export function isSessionRecord(value: unknown): value is SessionRecord {
  return (
    isObject(value) &&
    Array.isArray(value.revoked) &&
    isObject(value.choices) &&
    Object.values(value.choices).every(
      (choice) => isObject(choice) && typeof choice.jti === 'string',
    ) &&
    (value.left === undefined || (Array.isArray(value.left) && value.left.every(isScope)))
  );
}

function isScope(value: unknown): value is Scope {
  return isObject(value) && typeof value.name === 'string' && typeof value.value === 'string';
}

function listOf(value: unknown): unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : [value];
}

function isNewer(one: string, other: string): boolean {
  return (timeOfTokenId(one) ?? 0) > (timeOfTokenId(other) ?? 0);
}
