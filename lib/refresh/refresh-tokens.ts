import { type DenyList, type Look, missingScopes } from '../deny-list/deny-list.js';
import type { MarkSnapshot } from '../deny-list/marks.js';
import type { Superseded } from '../deny-list/verdict.js';
import type { TokenEvents } from '../events/token-events.js';
import {
  DenyListLostError,
  InvalidGrantError,
  JwtStateError,
  TokenRevokedError,
  TokenSupersededError,
  TooManySuccessorsError,
} from '../jwt-state.errors.js';
import { MAX_HOPS } from '../reissue/reissuer.js';
import type { TokenComposer } from '../reissue/token-composer.js';
import type { SessionRecords } from '../session/session-records.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** A refresh token that is alive, and what the store said of it. */
interface Tip {
  readonly token: VerifiedToken;
  readonly snapshot: MarkSnapshot;
}

export interface RefreshTokensParts {
  readonly verifier: TokenVerifier;
  readonly denyList: DenyList;
  readonly composer: TokenComposer;
  readonly mint: TokenMint;
  readonly sessions: SessionRecords;
  readonly events: TokenEvents;
}

/**
 * Refresh tokens, replaced at every use (RFC 9700 §4.14.2) by the same record that replaces an
 * access token: the first use writes the one successor, and every repetition is led to it. Each
 * answer brings an access token of its own.
 */
export class RefreshTokens {
  constructor(private readonly parts: RefreshTokensParts) {}

  /**
   * @throws InvalidGrantError for a token that is unknown, expired, revoked or used before
   * @throws DenyListUnavailableError, ClaimsUnavailableError: nothing was consumed
   */
  async refresh(text: string): Promise<IssuedToken> {
    try {
      return await this.exchange(await this.parts.verifier.verifyRefreshToken(text));
    } catch (error) {
      // Which of them it was is nobody's business (RFC 6749 §5.2).
      const isAboutToken = error instanceof JwtStateError && error.getStatus() === 401;
      throw isAboutToken ? new InvalidGrantError() : error;
    }
  }

  private async exchange(presented: VerifiedToken): Promise<IssuedToken> {
    // Twice, for the one who loses the race: then the winner's token answers for this one.
    for (let attempt = 0; attempt < 2; attempt++) {
      const tip = await this.tipOf(presented);
      const isPresented = tip.token === presented;
      const issued = isPresented ? await this.rotate(tip) : await this.answerWith(tip);
      if (issued) return issued;
    }
    throw new TooManySuccessorsError();
  }

  // --- what a refresh token stands for -------------------------------------------------------

  /**
   * The token itself, or what answers for it: in its grace period the tip of its successors, later
   * its direct successor, as long as nobody has used that. Beyond that it was used twice, and one
   * of the two users is a thief.
   */
  private async tipOf(presented: VerifiedToken): Promise<Tip> {
    const look = await this.lookAlive(presented);
    const { verdict } = look;
    if (verdict.state !== 'superseded') return { token: presented, snapshot: look.snapshot };
    const inGrace = this.parts.denyList.isInGrace(verdict.at);
    const { sub, sid, jti } = presented;
    this.parts.events.emit('superseded-use', { sub, sid, jti, inGrace });
    return this.follow(presented, successorOf(verdict), inGrace);
  }

  private async follow(
    presented: VerifiedToken,
    direct: VerifiedToken,
    inGrace: boolean,
  ): Promise<Tip> {
    let token = direct;
    for (let hop = 0; hop < MAX_HOPS; hop++) {
      const { verdict, snapshot } = await this.lookAlive(token);
      if (verdict.state !== 'superseded') return { token, snapshot };
      if (!inGrace) await this.endSession(presented);
      token = successorOf(verdict);
    }
    throw new TooManySuccessorsError();
  }

  /** A stale mark is no matter here: the access token is made from today's truth anyway. */
  private async lookAlive(token: VerifiedToken): Promise<Look> {
    const look = await this.parts.denyList.look(token, 'refresh');
    if (look.verdict.state === 'revoked') throw new TokenRevokedError();
    if (look.verdict.state === 'lost') throw new DenyListLostError();
    return look;
  }

  private async endSession({ sub, sid, jti }: VerifiedToken): Promise<never> {
    const { denyList, events } = this.parts;
    events.emit('refresh-reuse', { sub, sid, jti });
    await denyList.revokeSession(sid, 'refresh-reuse');
    throw new TokenSupersededError();
  }

  // --- what it is exchanged for --------------------------------------------------------------

  /** `undefined`: somebody else was faster. */
  private async rotate({ token, snapshot }: Tip): Promise<IssuedToken | undefined> {
    const { mint, denyList, composer } = this.parts;
    const previous = await this.previousOf(token, snapshot);
    const access = await composer.compose(previous.token, previous.snapshot, { renew: true });
    const successor = mint.refreshTokenFor(access, token) as VerifiedToken;
    // Signed before it is written: what cannot be signed must not replace what works.
    const issued = mint.sign(access, successor);
    if (await denyList.supersede(token, successor, 'refresh')) return undefined;
    await composer.confirmDeparture(previous.token, access);
    this.announce(token, issued);
    return issued;
  }

  /** The tip stays as it is: that somebody is told of it once more is no use of it. */
  private async answerWith({ token, snapshot }: Tip): Promise<IssuedToken> {
    const { mint, composer } = this.parts;
    const previous = await this.previousOf(token, snapshot);
    const access = await composer.compose(previous.token, previous.snapshot, { renew: true });
    await composer.confirmDeparture(previous.token, access);
    const issued = mint.sign(access, token);
    this.announce(token, issued);
    return issued;
  }

  /**
   * The token whose claims the next one continues: what the session has chosen since, or the
   * refresh token, which holds the claims it was made with. A revocation of what was chosen (a
   * tenant) ends the session like one of what it began with.
   */
  private async previousOf(token: VerifiedToken, snapshot: MarkSnapshot): Promise<Tip> {
    const { sessions, denyList } = this.parts;
    const kept = await sessions.read(token);
    if (!kept) return { token, snapshot };
    const missing = missingScopes(denyList.scopesOf(kept), snapshot.scopes);
    const all = missing.length > 0 ? await denyList.extend(snapshot, missing) : snapshot;
    if (all.marks.some((mark) => denyList.isEndedBy(kept, mark))) throw new TokenRevokedError();
    return { token: kept, snapshot: all };
  }

  private announce({ jti: predecessor }: VerifiedToken, issued: IssuedToken): void {
    const { sub, sid, jti } = issued.claims;
    const refreshJti = issued.refreshClaims?.jti as string;
    const ids = { sub, sid, jti, refreshJti, predecessor };
    this.parts.events.emit('reissued', { ...ids, why: 'refresh-token' });
  }
}

/** Without its record nobody can be led on. */
function successorOf({ successor }: Superseded): VerifiedToken {
  if (successor) return successor;
  throw new TokenSupersededError();
}
