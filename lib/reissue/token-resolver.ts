import { type DenyList, missingScopes } from '../deny-list/deny-list.js';
import type { Look } from '../deny-list/look.js';
import { isMadeStaleBy, type Mark } from '../deny-list/marks.js';
import type { Stale, StaleReason, Superseded } from '../deny-list/verdict.js';
import type { ReissueReason } from '../events/events.js';
import type { TokenEvents } from '../events/token-events.js';
import {
  DenyListLostError,
  DenyListUnavailableError,
  TokenRevokedError,
  TokenStaleError,
  TokenSupersededError,
  TooManySuccessorsError,
} from '../jwt-state.errors.js';
import { effectiveToken } from '../token/effective-token.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import type { ReissueRequest } from './reissue-request.js';
import { MAX_HOPS, type Reissuer, type Succession } from './reissuer.js';
import type { TokenComposer } from './token-composer.js';

/** How the audit log calls them. */
const REASONS: Record<StaleReason, ReissueReason> = {
  marked: 'stale',
  deadline: 'stale',
  loss: 'loss',
  legacy: 'legacy',
};

/** What a presented token stands for now. */
export interface ResolvedToken {
  /** As the client sent it. */
  readonly presented: VerifiedToken;
  /** The token that is judged and replaced: the presented one, or the tip of its successors. */
  readonly tip: VerifiedToken;
  /** What the request runs with: a copy of the tip, with the claims that are true now. */
  readonly current: VerifiedToken;
  /** What the client should hold from now on, if that is another one. */
  readonly issued: IssuedToken | undefined;
  /** By which the tip was judged; none where the store did not answer. */
  readonly marks: readonly Mark[];
}

/**
 * What to do about a stale token: replace it; use the fresh claims and leave replacing it to
 * whoever asked; leave the claims to him too; or refuse it.
 */
export type StalePolicy = 'reissue' | 'leave' | 'ignore' | 'refuse';

export interface ResolverSettings {
  readonly onUnavailable: 'reject' | 'accept';
  readonly renew: boolean;
}

/**
 * The table of token states, as a loop: look, and act on the verdict, until an active token is
 * found. A successor is judged like a presented token; only the presented one's grace counts.
 */
export class TokenResolver {
  /** Reissues under way in this process, by the `jti` they replace. */
  private readonly flights = new Map<string, Promise<Succession>>();

  constructor(
    private readonly denyList: DenyList,
    private readonly reissuer: Reissuer,
    private readonly composer: TokenComposer,
    private readonly mint: TokenMint,
    private readonly events: TokenEvents,
    private readonly settings: ResolverSettings,
  ) {}

  /**
   * What nearly every request is: an active token, and nobody who would have to be asked. `undefined`:
   * {@link resolve}.
   */
  recall(presented: VerifiedToken): ResolvedToken | undefined {
    const look = this.denyList.recall(presented);
    return look && this.found(presented, presented, look);
  }

  /**
   * @param onStale a function is asked when the token is found to be stale
   * @throws JwtStateError in every state in which the request must not run
   */
  async resolve(
    presented: VerifiedToken,
    onStale: StalePolicy | (() => StalePolicy),
  ): Promise<ResolvedToken> {
    let token = presented;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const look = await this.look(token);
      if (look === undefined) return unchecked(presented, token);
      const { verdict } = look;
      switch (verdict.state) {
        case 'revoked':
          throw new TokenRevokedError();
        case 'lost':
          throw new DenyListLostError();
        case 'active':
          return this.found(presented, token, look);
        case 'superseded':
          if (token === presented) this.announceUse(token, verdict);
          token = this.successorOf(verdict, token === presented);
          break;
        case 'stale': {
          const policy = typeof onStale === 'function' ? onStale() : onStale;
          // Who has nowhere to put a new one, or cannot sign, takes it as its application always did.
          if (verdict.why === 'legacy' && (policy === 'refuse' || !this.mint.canSign)) {
            return this.found(presented, token, look);
          }
          if (policy === 'refuse' || !this.canReplace(token, verdict)) throw new TokenStaleError();
          if (policy === 'ignore') return this.found(presented, token, look);
          if (policy === 'leave') {
            return this.found(presented, token, look, await this.reissuer.freshClaims(token));
          }
          const { successor, issued } = await this.reissueOnce(token, look, verdict.why);
          if (issued && this.knowsAll(successor, look)) {
            const { marks } = look.snapshot;
            return { presented, tip: successor, current: effectiveToken(successor), issued, marks };
          }
          token = successor;
        }
      }
    }
    throw new TooManySuccessorsError();
  }

  private found(
    presented: VerifiedToken,
    tip: VerifiedToken,
    { snapshot: { marks } }: Look,
    fresh?: Claims,
  ): ResolvedToken {
    const issued = tip !== presented && this.mint.canSign ? this.mint.sign(tip) : undefined;
    return { presented, tip, current: effectiveToken(tip, fresh), issued, marks };
  }

  private successorOf({ at, successor }: Superseded, isPresented: boolean): VerifiedToken {
    const graceIsOver = isPresented && !this.denyList.isInGrace(at);
    if (graceIsOver || !successor) throw new TokenSupersededError();
    return successor;
  }

  /** Without a source nobody knows the truth; but what predates this module is as true as ever. */
  private canReplace({ seen }: VerifiedToken, { why }: Stale): boolean {
    if (!this.mint.canSign || seen.origin === 'foreign') return false;
    return this.composer.canRead || why === 'legacy';
  }

  private announceUse({ sub, sid, jti }: VerifiedToken, { at }: Superseded): void {
    this.events.emit('superseded-use', { sub, sid, jti, inGrace: this.denyList.isInGrace(at) });
  }

  /** `undefined`: the store does not answer, and the application prefers to go on without it. */
  private async look(token: VerifiedToken): Promise<Look | undefined> {
    try {
      return await this.denyList.look(token);
    } catch (error) {
      const accept = this.settings.onUnavailable === 'accept';
      if (accept && error instanceof DenyListUnavailableError) return undefined;
      throw error;
    }
  }

  /** Parallel requests with one stale token share one reissue. */
  private reissueOnce(token: VerifiedToken, look: Look, why: StaleReason): Promise<Succession> {
    const running = this.flights.get(token.jti);
    if (running !== undefined) return running;
    const request: ReissueRequest = { why: REASONS[why], renew: this.settings.renew };
    const flight = this.reissuer
      .succeed(token, look.snapshot, request)
      .finally(() => this.flights.delete(token.jti));
    this.flights.set(token.jti, flight);
    return flight;
  }

  /**
   * Whether a token from a shared flight knows of everything this request has seen. The flight may
   * have read its marks before a change that had ended when this request began.
   */
  private knowsAll(token: VerifiedToken, { snapshot }: Look): boolean {
    return (
      token.seen.epoch === snapshot.epoch &&
      missingScopes(this.denyList.scopesOf(token), snapshot.scopes).length === 0 &&
      !snapshot.marks.some((mark) => isMadeStaleBy(token, mark))
    );
  }
}

/** The store does not answer, and the application would rather go on. */
function unchecked(presented: VerifiedToken, tip: VerifiedToken): ResolvedToken {
  return { presented, tip, current: effectiveToken(tip), issued: undefined, marks: [] };
}
