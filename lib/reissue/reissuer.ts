import type { Clock } from '../clock.js';
import { type DenyList, type Look, missingScopes } from '../deny-list/deny-list.js';
import { type MarkSnapshot, seenBy } from '../deny-list/marks.js';
import {
  ClaimsUnavailableError,
  DenyListLostError,
  TokenRevokedError,
  TokenStaleError,
  TokenSupersededError,
  TooManySuccessorsError,
} from '../jwt-state.errors.js';
import type { ClaimsReader } from '../token/claims-reader.js';
import type { IssuedToken } from '../token/issued-token.js';
import { nextTokenId } from '../token/token-id.js';
import { type TokenMint, toSeconds } from '../token/token-mint.js';
import {
  applicationClaims,
  type Claims,
  type VerifiedToken,
  withClaims,
} from '../token/verified-token.js';
import { carries } from './carries.js';
import type { ReissueRequest } from './reissue-request.js';

/** Beyond this many successors nobody follows in one request. */
export const MAX_HOPS = 16;

/** What one attempt to replace a token led to. */
export interface Succession {
  /** What the token leads to now. */
  readonly successor: VerifiedToken;
  /** The same, signed, if this attempt made it; somebody else's is judged like any token. */
  readonly issued?: IssuedToken;
}

/**
 * Replaces tokens. The order is the whole point: marks, then claims, then signature, then the
 * record that makes the predecessor lead to the successor; nothing leaves before that record is
 * confirmed.
 */
export class Reissuer {
  constructor(
    private readonly denyList: DenyList,
    private readonly claims: ClaimsReader,
    private readonly mint: TokenMint,
    private readonly clock: Clock,
  ) {}

  /** What the token should say now, for those who leave replacing it to others. */
  freshClaims(token: VerifiedToken): Promise<Claims> {
    return this.readClaims(token);
  }

  /** One attempt, from marks that were read already. The caller has judged the predecessor. */
  async succeed(
    predecessor: VerifiedToken,
    snapshot: MarkSnapshot,
    request: ReissueRequest,
  ): Promise<Succession> {
    const successor = await this.compose(predecessor, snapshot, request);
    // Signed before it is written: a token that cannot be signed must not replace one that works.
    const issued = this.mint.sign(successor);
    const winner = await this.denyList.supersede(predecessor, successor);
    if (winner) return { successor: winner };
    await this.confirmDeparture(predecessor, successor);
    return { successor, issued };
  }

  /**
   * A session that leaves a tenant must not slip out of a revocation of it that came while the
   * claims were read: the successor is not in its scope any more, so the predecessor is asked.
   */
  private async confirmDeparture(
    predecessor: VerifiedToken,
    successor: VerifiedToken,
  ): Promise<void> {
    const left = missingScopes(
      this.denyList.scopesOf(predecessor),
      this.denyList.scopesOf(successor),
    );
    if (left.length === 0) return;
    // No answer is no reason to keep the new token back: the old one leads to it by now.
    if (await this.denyList.isSessionAlive(predecessor).catch(() => true)) return;
    await this.denyList.revokeSession(predecessor.sid).catch(() => {});
    throw new TokenRevokedError();
  }

  /**
   * Replaces the tip of the token's successors by a token that carries the request, or answers
   * that tip if it carries it already. For callers that have judged the token themselves.
   *
   * @param presented the token the client holds, where `current` is already a successor of it
   */
  async replace(
    current: VerifiedToken,
    request: ReissueRequest,
    presented: VerifiedToken = current,
  ): Promise<IssuedToken> {
    let token = current;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const { verdict, snapshot } = await this.lookAlive(token);
      if (verdict.state === 'superseded') {
        if (!verdict.successor) throw new TokenSupersededError();
        token = verdict.successor;
        continue;
      }
      const isSuccessor = token.jti !== presented.jti;
      if (isSuccessor && verdict.state === 'active' && carries(token, request, this.mint)) {
        return this.mint.sign(token);
      }
      const { successor, issued } = await this.succeed(token, snapshot, request);
      if (issued) return issued;
      token = successor;
    }
    throw new TooManySuccessorsError();
  }

  private async lookAlive(token: VerifiedToken): Promise<Look> {
    const look = await this.denyList.look(token);
    if (look.verdict.state === 'revoked') throw new TokenRevokedError();
    if (look.verdict.state === 'lost') throw new DenyListLostError();
    // Copying old claims would make a token that says it knows of the change.
    if (look.verdict.state === 'stale' && !this.claims.hasSource) throw new TokenStaleError();
    return look;
  }

  private async compose(
    predecessor: VerifiedToken,
    before: MarkSnapshot,
    request: ReissueRequest,
  ): Promise<VerifiedToken> {
    const { claims, snapshot } = await this.readAll(predecessor, before, request.changes);
    const scopes = this.denyList.scopesOf(withClaims(predecessor, claims));
    const { auth_time } = predecessor;
    // On a host whose clock is behind, `exp - iat` must not grow beyond what any token may live.
    const issuedAt = Math.max(snapshot.readAt, predecessor.iat * 1000);
    const exp = request.renew ? this.mint.freshExpiry(issuedAt, auth_time) : predecessor.exp;
    const seen = seenBy(snapshot, scopes, {
      revoked: predecessor.seen.revoked ?? [],
      scopes: this.denyList.scopesOf(predecessor),
    });
    const jti = nextTokenId(this.clock.now(), predecessor.jti);
    return { ...withClaims(predecessor, claims), jti, iat: toSeconds(issuedAt), exp, seen };
  }

  /** Where the answer names a scope whose marks were not read, these are read and it is asked again. */
  private async readAll(
    predecessor: VerifiedToken,
    before: MarkSnapshot,
    changes: Claims | undefined,
  ) {
    let snapshot = before;
    for (let attempt = 0; attempt < 2; attempt++) {
      const claims = { ...(await this.readClaims(predecessor)), ...changes };
      const scopes = this.denyList.scopesOf(withClaims(predecessor, claims));
      const missing = missingScopes(scopes, snapshot.scopes);
      if (missing.length === 0) return { claims, snapshot };
      snapshot = await this.denyList.extend(snapshot, missing);
    }
    throw new ClaimsUnavailableError('The claims changed their scope while they were read.');
  }

  private async readClaims(predecessor: VerifiedToken): Promise<Claims> {
    if (!this.claims.hasSource) return applicationClaims(predecessor);
    const claims = await this.claims.read(predecessor.sub, predecessor);
    if (claims !== null) return claims;
    // The subject may hold no token any more; that stands whether or not it can be written down.
    await this.denyList.revokeSession(predecessor.sid).catch(() => {});
    throw new TokenRevokedError('The subject of this token may hold no token any more.');
  }
}
