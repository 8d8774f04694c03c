import type { VerifiedToken } from '../token/verified-token.js';
import { currentOf, type Generations, overtakenSince } from './generations.js';
import type { ScopeState } from './scope-state.js';
import type { SessionState } from './session-state.js';
import { isRevokedBy, isStaleBy } from './token-marks.js';

/** Everything the store says of one token. */
export interface TokenState {
  /** `undefined`: the store is empty. */
  readonly epoch: string | undefined;
  readonly session: SessionState;
  /** Of the token's subject and claim values, and of everyone. */
  readonly scopes: readonly ScopeState[];
}

/**
 * - `superseded`: a later generation was made; this token leads to it
 * - `over`: the same, and its grace period has ended
 */
export type Verdict =
  | { readonly state: 'active' | 'revoked' | 'lost' | 'superseded' | 'over' }
  | { readonly state: 'stale'; readonly why: StaleReason };

/**
 * `marked`: its state has changed. `deadline`: it was provisional. `loss`: the store lost its records.
 * `behind`: the store lost a write, or the record of the session has ended. `legacy`: made by the
 * application before it used this module.
 */
export type StaleReason = 'marked' | 'deadline' | 'loss' | 'behind' | 'legacy';

export interface JudgeRules {
  readonly onLoss: 'reject' | 'reissue' | 'accept';
  /** In ms. */
  readonly gracePeriod: number;
  readonly canSign: boolean;
  /** Whether this service can ask for the claims that are true now. */
  readonly hasSource: boolean;
}

const is = (state: 'active' | 'revoked' | 'lost' | 'superseded' | 'over'): Verdict => ({ state });
const stale = (why: StaleReason): Verdict => ({ state: 'stale', why });

/** Why a token of any kind is refused, if it is: the first two rows of {@link judge}. */
export function refusalOf(
  token: VerifiedToken,
  { epoch, session, scopes }: TokenState,
  onLoss: JudgeRules['onLoss'],
): 'revoked' | 'lost' | undefined {
  if (session.isRevoked || scopes.some((scope) => isRevokedBy(token, scope))) return 'revoked';
  return isLost(token, epoch) && onLoss === 'reject' ? 'lost' : undefined;
}

/** A token that this module did not make names no epoch. */
function isLost({ seen }: VerifiedToken, epoch: string | undefined): boolean {
  return seen.origin === undefined && epoch !== seen.epoch;
}

/**
 * What an access token is now. The order is part of the contract: revoked, lost, superseded, behind,
 * stale, active.
 */
export function judge(
  token: VerifiedToken,
  state: TokenState,
  now: number,
  { onLoss, gracePeriod, canSign, hasSource }: JudgeRules,
): Verdict {
  const refusal = refusalOf(token, state, onLoss);
  if (refusal) return is(refusal);

  const { epoch, session, scopes } = state;
  const { origin, gen = 0, until } = token.seen;
  const lost = isLost(token, epoch);
  // Another issuer's token has no place in a sequence of ours.
  if (origin !== 'foreign') {
    const current = currentOf(session.generations);
    if (gen < current) {
      return is(isOver(session.generations, gen, now, gracePeriod) ? 'over' : 'superseded');
    }
    if (gen > current && !lost && canSign && hasSource) return stale('behind');
  }

  if (isStaleBy(token, session.stale) || scopes.some((scope) => isStaleBy(token, scope.stale))) {
    return stale('marked');
  }
  if (until !== undefined && now >= until) return stale('deadline');
  if (lost && onLoss === 'reissue') return stale('loss');
  if (origin === 'legacy' && canSign) return stale('legacy');
  return is('active');
}

function isOver(generations: Generations, n: number, now: number, gracePeriod: number): boolean {
  const since = overtakenSince(generations, n);
  return since !== undefined && now >= since + gracePeriod;
}

/**
 * - `exchange`: the newest one, or the store lost a use of it
 * - `repeat`: it was used, and leads to what that use has brought
 * - `reuse`: that was used, too, and the grace period is over: two parties hold this session
 */
export type RefreshVerdict = 'exchange' | 'repeat' | 'reuse';

/**
 * What a refresh token is good for, once its session is known to live.
 *
 * @param uses of the session's refresh tokens: `n` was made by the use of `n - 1`
 */
export function judgeRefresh(
  { seen: { gen = 0 } }: VerifiedToken,
  uses: Generations,
  now: number,
  gracePeriod: number,
): RefreshVerdict {
  const current = currentOf(uses);
  if (gen >= current) return 'exchange';
  // The last one that was used leads on for as long as it lives: its response may have got lost.
  if (gen === current - 1) return 'repeat';
  return isOver(uses, gen + 1, now, gracePeriod) ? 'reuse' : 'repeat';
}
