import { isDeepStrictEqual } from 'node:util';
import type { ReissueReason } from '../events/events.js';
import type { EventSink } from '../events/token-events.js';
import {
  DenyListLostError,
  DenyListUnavailableError,
  TokenRevokedError,
  TokenStaleError,
  TokenSupersededError,
} from '../jwt-state.errors.js';
import type { StaleReason, Verdict } from '../state/judge.js';
import type { Look } from '../state/look.js';
import type { StateKeys } from '../state/state-keys.js';
import { effectiveToken } from '../token/effective-token.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import type { Arrivals } from './arrivals.js';
import type { Composer } from './composer.js';
import type { ReissueRequest, Reissuer } from './reissuer.js';
import type { Standing, StandingReader } from './standing.js';

/** What a presented token stands for now. */
export interface ResolvedToken {
  /** As the client sent it. */
  readonly presented: VerifiedToken;
  /** What the request runs with: a copy, with the claims that are true now. */
  readonly current: VerifiedToken;
  /** What the client should hold from now on, if that is another one. */
  readonly issued: IssuedToken | undefined;
  /** By which the token was judged; none where the store did not answer. */
  readonly look: Look | undefined;
}

/**
 * What to do about a stale token: replace it; use the fresh claims and leave replacing it to the caller;
 * leave the claims to the caller as well; or refuse it.
 */
export type StalePolicy = 'reissue' | 'leave' | 'ignore' | 'refuse';

export interface ResolverParts {
  readonly standings: StandingReader;
  readonly reissuer: Reissuer;
  readonly composer: Composer;
  readonly mint: TokenMint;
  readonly arrivals: Arrivals;
  readonly keys: StateKeys;
  readonly events: EventSink;
  readonly renew: boolean;
}

/** How the audit log calls them. */
const REASONS: Record<StaleReason, ReissueReason> = {
  marked: 'stale',
  deadline: 'stale',
  behind: 'stale',
  loss: 'loss',
  legacy: 'legacy',
};

/** This often another request may be faster. */
const ATTEMPTS = 32;

/** The table of token states, as a loop: look, act on the verdict, and begin again if somebody was faster. */
export class TokenResolver {
  /** Reissues under way in this process, by the session and generation they replace. */
  private readonly flights = new Map<string, Promise<unknown>>();

  constructor(private readonly parts: ResolverParts) {}

  /** @throws JwtStateError in every state in which the request must not run */
  async resolve(presented: VerifiedToken, policy: StalePolicy): Promise<ResolvedToken> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const standing = await this.parts.standings.read(presented, { isAdmitted: attempt > 0 });
      const { verdict, look } = standing;
      if (attempt === 0) this.announceUse(standing);
      refuse(verdict);
      if (verdict.state === 'active') return this.found(standing);
      if (policy === 'refuse' && isLegacy(verdict)) return this.found(standing);
      if (policy === 'refuse' || !this.canReplace(standing)) throw new TokenStaleError();
      if (policy === 'ignore') return this.found(standing);
      if (policy === 'leave') {
        return this.found(standing, await this.parts.composer.readClaims(standing.place));
      }
      const issued = await this.reissueOnce(standing);
      if (issued) return { presented, current: effectiveToken(issued.claims), issued, look };
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  /**
   * Replaces what a token leads to by one that carries the request, or answers the tip if that carries it
   * already. For callers whose token was let in before.
   *
   * @param ahead a look at everything about the token that the caller has just had
   */
  async replace(
    presented: VerifiedToken,
    request: ReissueRequest,
    ahead?: Look,
  ): Promise<IssuedToken> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const standing = await this.parts.standings.read(presented, {
        isAdmitted: true,
        mayHaveExpired: true,
        ahead: attempt === 0 ? ahead : undefined,
      });
      const { verdict, token } = standing;
      refuse(verdict);
      if (verdict.state !== 'active' && !this.canReplace(standing)) throw new TokenStaleError();
      const isTip = token !== presented && verdict.state === 'active';
      if (isTip && this.carries(token, request)) return this.parts.mint.sign(token);
      const issued = await this.parts.reissuer.attempt(standing, request);
      if (issued) return issued;
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  private found({ presented, token, look }: Standing, fresh?: Claims): ResolvedToken {
    const { arrivals, keys, mint } = this.parts;
    if (token === presented) arrivals.note(presented, look.value(keys.session(presented.sid)));
    const issued = token !== presented && mint.canSign ? mint.sign(token) : undefined;
    return { presented, current: effectiveToken(token, fresh), issued, look };
  }

  /**
   * Parallel requests with one stale token share one reissue. One that joined reads again: the reissue may
   * have read its marks before a change that had ended when this request began.
   */
  private async reissueOnce(standing: Standing): Promise<IssuedToken | undefined> {
    const { token, verdict } = standing;
    const id = `${token.sid} ${token.seen.gen ?? 0}`;
    const running = this.flights.get(id);
    if (running !== undefined) {
      await running.catch(() => {});
      return undefined;
    }
    const why = verdict.state === 'stale' ? REASONS[verdict.why] : 'stale';
    const flight = this.parts.reissuer.attempt(standing, { why, renew: this.parts.renew });
    this.flights.set(id, flight);
    try {
      return await flight;
    } finally {
      this.flights.delete(id);
    }
  }

  /** Without a source nobody knows the truth; but what predates this module is as true as ever. */
  private canReplace({ token, verdict }: Standing): boolean {
    const { mint, composer } = this.parts;
    if (!mint.canSign || token.seen.origin === 'foreign') return false;
    return composer.hasSource || isLegacy(verdict);
  }

  /** Whether a token that somebody else made already holds what this request was to bring. */
  private carries(token: VerifiedToken, { changes, renew }: ReissueRequest): boolean {
    const { mint } = this.parts;
    if (renew && token.exp < mint.freshExpiry(token.iat * 1000, token)) return false;
    return Object.entries(changes ?? {}).every(([name, value]) =>
      isDeepStrictEqual(token[name], value),
    );
  }

  private announceUse({ presented, token, isLed, verdict }: Standing): void {
    if (token === presented && !isLed && verdict.state !== 'over') return;
    const { sub, sid, jti } = presented;
    const inGrace = verdict.state !== 'over';
    this.parts.events.emit('superseded-use', { sub, sid, jti, inGrace });
  }
}

function isLegacy(verdict: Verdict): boolean {
  return verdict.state === 'stale' && verdict.why === 'legacy';
}

function refuse({ state }: Verdict): void {
  if (state === 'revoked') throw new TokenRevokedError();
  if (state === 'lost') throw new DenyListLostError();
  if (state === 'over') throw new TokenSupersededError();
}
