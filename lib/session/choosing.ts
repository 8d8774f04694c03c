import { isDeepStrictEqual } from 'node:util';
import { missingScopes } from '../deny-list/deny-list.js';
import type { Mark } from '../deny-list/marks.js';
import { claimScopes } from '../deny-list/scopes.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import { type Choice, continued, type SessionRecord } from './session-record.js';

/** What a new token has chosen for its session, or was moved to. */
export interface Choosing {
  /** The token that is replaced. */
  readonly before: VerifiedToken;
  /** The token that holds what was chosen. */
  readonly token: VerifiedToken;
  /** The claims that were chosen. */
  readonly names: readonly string[];
  /** The token may still come too late, and take it back: a move by the source, not yet in effect. */
  readonly isTentative?: boolean;
  /** A token that was to hold them and came too late: what others have set since then stands. */
  readonly insteadOf?: string | undefined;
}

/** What else decides how a record goes on. */
export interface Surroundings {
  readonly scopeClaims: readonly string[];
  /** All marks of the scopes that the session is in, where somebody has looked. */
  readonly marks?: readonly Mark[] | undefined;
}

/** The claims that a token has otherwise than the one it replaces, and that the session is to keep. */
export function chosenClaims(
  before: VerifiedToken,
  after: VerifiedToken,
  changes: Claims | undefined,
  scopeClaims: readonly string[],
): string[] {
  const moved = scopeClaims.filter((name) => !isDeepStrictEqual(before[name], after[name]));
  return [...new Set([...Object.keys(changes ?? {}), ...moved])];
}

/**
 * The record with what a new token has chosen. Only for who has judged the session by the record that
 * this goes on from: what that one has left is forgotten here, since it was found not to be revoked.
 */
export function withChoices(
  record: SessionRecord | undefined,
  choosing: Choosing,
  { scopeClaims, marks }: Surroundings,
): SessionRecord {
  const { before, token, names, insteadOf, isTentative } = choosing;
  const by = { jti: token.jti, ...(isTentative && { tentative: true }) };
  const choices: Record<string, Choice> = { ...record?.choices };
  for (const name of names) {
    if (insteadOf !== undefined && choices[name]?.jti !== insteadOf) continue;
    choices[name] = { value: token[name], ...by };
  }
  const known = [...(record?.revoked ?? []), ...(before.seen.revoked ?? [])];
  // A mark that another one has replaced is not met again: without this the record would only grow.
  const standing = marks ? known.filter((id) => marks.some((mark) => mark.id === id)) : known;
  const revoked = [...new Set([...standing, ...(token.seen.revoked ?? [])])];
  const next = { choices, revoked };
  // Where the session was by its record, and not by the token: that may have been left long ago.
  const left = missingScopes(
    claimScopes(continued(before, record), scopeClaims),
    claimScopes(continued(before, next), scopeClaims),
  );
  return left.length > 0 ? { ...next, left } : next;
}
