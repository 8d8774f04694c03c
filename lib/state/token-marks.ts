import { CLOCK_SKEW_MS } from '../clock.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { ScopeState } from './scope-state.js';
import type { StaleMark } from './stale-mark.js';

/** Whether a revocation of this scope ends the token. */
export function isRevokedBy(token: VerifiedToken, { revoked, others }: ScopeState): boolean {
  if (revoked !== undefined && !knows(token, revoked, token.seen.revoked)) return true;
  if (!others || others.except === token.sid) return false;
  return !knows(token, others.id, token.seen.revoked);
}

/** Whether the state behind the token has changed since it was made. */
export function isStaleBy(token: VerifiedToken, mark: StaleMark | undefined): boolean {
  return mark !== undefined && !knows(token, mark.id, token.seen.stale);
}

/** The ids of the revocations of a scope: a session that starts now knows of them. */
export function revocationsIn({ revoked, others }: ScopeState): string[] {
  return [revoked, others?.id].filter((id) => id !== undefined);
}

/**
 * A token that this module did not make can name no marks. It knows of those that were set well before
 * its `iat`.
 */
function knows(token: VerifiedToken, id: string, seen: readonly string[] | undefined): boolean {
  if (token.seen.origin === undefined) return seen?.includes(id) ?? false;
  return token.iat * 1000 > timeOfMark(id) + CLOCK_SKEW_MS;
}

/** When a mark was set, by its writer's clock, in ms; an id of another kind counts as set just now. */
function timeOfMark(id: string): number {
  const bytes = Buffer.from(id, 'base64url');
  return bytes.length < 6 ? Number.POSITIVE_INFINITY : bytes.readUIntBE(0, 6);
}
