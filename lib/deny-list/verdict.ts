import type { VerifiedToken } from '../token/verified-token.js';
import { isMadeStaleBy, isPastItsDeadline, isRevokedBy } from './marks.js';
import type { Records } from './records.js';
import type { Successor } from './successor.js';

/** The states of a correctly signed token. */
export type Verdict =
  | { readonly state: 'active' }
  | Stale
  | Superseded
  | { readonly state: 'revoked' }
  /** The store has lost its entries since this token was issued. */
  | { readonly state: 'lost' };

/**
 * Why a token is stale: its state has changed, its own deadline has passed, the store was lost, or
 * it is from before the application used this module.
 */
export type StaleReason = 'marked' | 'deadline' | 'loss' | 'legacy';

export interface Stale {
  readonly state: 'stale';
  readonly why: StaleReason;
}

export interface Superseded {
  readonly state: 'superseded';
  /** When it was first replaced, in ms: the grace period counts from here. */
  readonly at: number;
  /** The successor itself, for as long as its record is kept. */
  readonly successor: VerifiedToken | undefined;
  /** Whether the successor was used, as far as is known without looking at it. Of refresh tokens only. */
  readonly isSpent: boolean;
}

/**
 * The rule of the whole module: what is this token now? Revoked before superseded before stale.
 *
 * @param successor the record `next`, its signature checked
 */
export function judge(
  token: VerifiedToken,
  records: Records,
  successor: Successor | undefined,
  now: number,
  onLoss: 'reject' | 'reissue' | 'accept',
): Verdict {
  if (
    records.sessionRevoked ||
    records.token?.revoked ||
    records.marks.some((mark) => isRevokedBy(token, mark))
  ) {
    return { state: 'revoked' };
  }
  // A token that this module did not make has seen no epoch either.
  const isOwn = token.seen.origin === undefined;
  const lost = isOwn && records.epoch !== token.seen.epoch;
  if (lost && onLoss === 'reject') return { state: 'lost' };

  const superseded = supersededBy(records, successor);
  if (superseded) return superseded;

  const stale = (why: StaleReason): Verdict => ({ state: 'stale', why });
  if (records.marks.some((mark) => isMadeStaleBy(token, mark))) return stale('marked');
  if (isPastItsDeadline(token, now)) return stale('deadline');
  if (lost && onLoss === 'reissue') return stale('loss');
  if (token.seen.origin === 'legacy') return stale('legacy');
  return { state: 'active' };
}

/** Either record says so. `jti` outlives `next`, so the first replacement is found there. */
function supersededBy(records: Records, next: Successor | undefined): Superseded | undefined {
  if (records.token && !records.token.revoked) {
    const { at, successor, isUsed: isSpent } = records.token;
    // A `next` that names another one was written too late to count.
    const match = next?.claims.jti === successor ? next.claims : undefined;
    return { state: 'superseded', at, successor: match, isSpent };
  }
  if (records.next === undefined) return undefined;
  const isSpent = false;
  // A record that cannot be read still says that the token was replaced; when and by what is gone.
  if (!next) return { state: 'superseded', at: 0, successor: undefined, isSpent };
  return { state: 'superseded', at: next.at, successor: next.claims, isSpent };
}
