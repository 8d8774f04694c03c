import { type DenyList, type Look, missingScopes } from '../deny-list/deny-list.js';
import { isMadeStaleBy } from '../deny-list/marks.js';
import {
  DenyListLostError,
  DenyListUnavailableError,
  TokenRevokedError,
  TokenStaleError,
  TokenSupersededError,
  TooManySuccessorsError,
} from '../jwt-state.errors.js';
import type { ClaimsReader } from '../token/claims-reader.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { MAX_HOPS, type ReissueRequest, type Reissuer, type Succession } from './reissuer.js';

/** What a presented token stands for now. */
export interface ResolvedToken {
  /** As the client sent it. */
  readonly presented: VerifiedToken;
  /** With the claims that are true now: the presented token, or the tip of its successors. */
  readonly current: VerifiedToken;
  /** What the client should hold from now on, if that is another one. */
  readonly issued: IssuedToken | undefined;
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
    private readonly claims: ClaimsReader,
    private readonly mint: TokenMint,
    private readonly settings: ResolverSettings,
  ) {}

  /** @throws JwtStateError in every state in which the request must not run */
  async resolve(presented: VerifiedToken, onStale: StalePolicy): Promise<ResolvedToken> {
    let token = presented;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const look = await this.look(token);
      if (look === undefined) return { presented, current: token, issued: undefined };
      const { verdict } = look;
      switch (verdict.state) {
        case 'revoked':
          throw new TokenRevokedError();
        case 'lost':
          throw new DenyListLostError();
        case 'superseded':
          if (token === presented && !this.denyList.isInGrace(verdict)) {
            throw new TokenSupersededError();
          }
          if (!verdict.successor) throw new TokenSupersededError();
          token = verdict.successor;
          break;
        case 'active':
          return { presented, current: token, issued: this.successorToDeliver(presented, token) };
        case 'stale': {
          if (onStale === 'refuse' || !this.canReissue) throw new TokenStaleError();
          if (onStale === 'ignore') return { presented, current: token, issued: undefined };
          if (onStale === 'leave') {
            const current = await this.reissuer.freshClaims(token);
            return { presented, current, issued: this.successorToDeliver(presented, token) };
          }
          const succession = await this.reissueOnce(token, look);
          if (succession.outcome === 'issued') {
            const { issued } = succession;
            if (this.knowsAll(issued.claims, look)) {
              return { presented, current: issued.claims, issued };
            }
            token = issued.claims;
          } else if (succession.outcome === 'overtaken') {
            token = succession.winner;
          } else {
            // Somebody replaced it longer ago than the grace period, while we asked for the claims.
            throw new TokenSupersededError();
          }
        }
      }
    }
    throw new TooManySuccessorsError();
  }

  private get canReissue(): boolean {
    return this.mint.canSign && this.claims.hasSource;
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

  private successorToDeliver(presented: VerifiedToken, token: VerifiedToken) {
    return token !== presented && this.mint.canSign ? this.mint.sign(token) : undefined;
  }

  /** Parallel requests with one stale token share one reissue. */
  private reissueOnce(token: VerifiedToken, look: Look): Promise<Succession> {
    const running = this.flights.get(token.jti);
    if (running !== undefined) return running;
    const request: ReissueRequest = { renew: this.settings.renew };
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
