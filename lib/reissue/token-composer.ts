import type { Clock } from '../clock.js';
import { type DenyList, missingScopes } from '../deny-list/deny-list.js';
import { isMadeStaleBy, type MarkSnapshot, seenBy } from '../deny-list/marks.js';
import { ClaimsUnavailableError, TokenRevokedError } from '../jwt-state.errors.js';
import { type ClaimsReader, signable } from '../token/claims-reader.js';
import { nextTokenId } from '../token/token-id.js';
import { type TokenMint, toSeconds } from '../token/token-mint.js';
import {
  applicationClaims,
  type Claims,
  type VerifiedToken,
  withClaims,
} from '../token/verified-token.js';
import type { ReissueRequest } from './reissue-request.js';

export interface CompositionRequest extends Pick<ReissueRequest, 'changes' | 'renew'> {
  /** Another `jti` that the new one is to be later than. */
  readonly after?: string | undefined;
}

/**
 * Says what the next token of a session holds: the marks were read, then the claims are, so that a
 * change in between is news to the token.
 */
export class TokenComposer {
  constructor(
    private readonly denyList: DenyList,
    private readonly claims: ClaimsReader,
    private readonly mint: TokenMint,
    private readonly clock: Clock,
  ) {}

  get canRead(): boolean {
    return this.claims.hasSource;
  }

  /** @param before marks that were read already, those of the predecessor's scopes among them */
  async compose(
    predecessor: VerifiedToken,
    before: MarkSnapshot,
    request: CompositionRequest,
  ): Promise<VerifiedToken> {
    const marks = await this.denyList.forIssuing(before);
    const read = await this.readAll(predecessor, marks, request.changes);
    const { claims } = read;
    const snapshot = this.asKnown(predecessor, read.snapshot);
    const scopes = this.denyList.scopesOf(withClaims(predecessor, claims));
    // On a host whose clock is behind, `exp - iat` must not grow beyond what any token may live.
    const issuedAt = Math.max(snapshot.readAt, predecessor.iat * 1000);
    const { origin, login } = predecessor.seen;
    const isOwn = origin === undefined;
    const seen = seenBy(
      snapshot,
      scopes,
      // To a token from elsewhere its own first marks are new: this is where its session begins.
      isOwn
        ? {
            revoked: predecessor.seen.revoked ?? [],
            scopes: this.denyList.scopesOf(predecessor),
          }
        : undefined,
    );
    return {
      ...withClaims(isOwn ? predecessor : this.ours(predecessor), claims),
      jti: nextTokenId(this.clock.now(), predecessor.jti, request.after),
      iat: toSeconds(issuedAt),
      exp: this.expiryOf(predecessor, issuedAt, request.renew),
      seen: { ...seen, ...(login && { login }) },
    };
  }

  /**
   * Without a source the claims are the predecessor's, and so is what they know: a mark that is
   * news to it must stay news to its copy, for those who can read the truth.
   */
  private asKnown(predecessor: VerifiedToken, snapshot: MarkSnapshot): MarkSnapshot {
    if (this.claims.hasSource) return snapshot;
    return {
      ...snapshot,
      marks: snapshot.marks.filter((mark) => !isMadeStaleBy(predecessor, mark)),
    };
  }

  /** @throws TokenRevokedError where the subject may hold no token any more */
  async readClaims(predecessor: VerifiedToken): Promise<Claims> {
    // A token from before may have any.
    if (!this.claims.hasSource) return signable('token', applicationClaims(predecessor));
    const claims = await this.claims.read(predecessor.sub, predecessor);
    if (claims !== null) return claims;
    // That stands whether or not it can be written down.
    await this.denyList.revokeSession(predecessor.sid, 'subject-gone').catch(() => {});
    throw new TokenRevokedError('The subject of this token may hold no token any more.');
  }

  /** From here on it is a token of this service, and for whom that makes tokens. */
  private ours({ iss, aud, ...token }: VerifiedToken): VerifiedToken {
    return { ...token, ...this.mint.parties };
  }

  private expiryOf(predecessor: VerifiedToken, issuedAt: number, renew: boolean): number {
    const { exp, seen } = predecessor;
    if (renew) return this.mint.freshExpiry(issuedAt, predecessor);
    // A token from elsewhere may live longer than this service lets any of its own.
    return seen.origin === undefined
      ? exp
      : Math.min(exp, this.mint.freshExpiry(issuedAt, predecessor));
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
}
