import type { DenyList } from '../deny-list/deny-list.js';
import type { MarkSnapshot } from '../deny-list/marks.js';
import type { Superseded, Verdict } from '../deny-list/verdict.js';
import type { TokenEvents } from '../events/token-events.js';
import {
  DenyListLostError,
  DenyListUnavailableError,
  InvalidGrantError,
  JwtStateError,
  TokenRevokedError,
  TokenSupersededError,
  TooManySuccessorsError,
} from '../jwt-state.errors.js';
import { MAX_HOPS } from '../reissue/reissuer.js';
import type { TokenComposer } from '../reissue/token-composer.js';
import { chosenClaims } from '../session/choosing.js';
import type { SessionKeeper } from '../session/session-keeper.js';
import {
  addsNothing,
  asJudged,
  continued,
  newestIn,
  type SessionRecord,
  tentativeIn,
} from '../session/session-record.js';
import type { StandingRecord } from '../session/session-records.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** A refresh token that is alive, and what the store said of it. */
interface Tip {
  readonly token: VerifiedToken;
  /** The same, with what the session has chosen since: the next access token continues this. */
  readonly continued: VerifiedToken;
  readonly snapshot: MarkSnapshot;
}

export interface RefreshTokensParts {
  readonly verifier: TokenVerifier;
  readonly denyList: DenyList;
  readonly composer: TokenComposer;
  readonly mint: TokenMint;
  readonly sessions: SessionKeeper;
  readonly events: TokenEvents;
  readonly scopeClaims: readonly string[];
}

/** An exchange begins anew when another one was faster, once, and whenever the session has moved. */
const ATTEMPTS = 8;

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

  /** Whether the session of this token may still have tokens, by the store itself. */
  async isAlive(token: VerifiedToken): Promise<boolean> {
    const { record } = await this.parts.sessions.read(token);
    const isOver = (error: unknown) =>
      error instanceof TokenRevokedError || error instanceof DenyListLostError;
    return this.lookAlive(token, record).then(
      () => true,
      (error) => {
        if (isOver(error)) return false;
        throw error;
      },
    );
  }

  private async exchange(presented: VerifiedToken): Promise<IssuedToken> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const standing = await this.parts.sessions.read(presented);
      // What it meets when it begins anew is no second use of the token, but this one.
      const issued = await this.attempt(presented, standing, attempt === 0);
      if (issued) return issued;
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  /** `undefined`: somebody else was faster, or the session has moved meanwhile. */
  private async attempt(
    presented: VerifiedToken,
    standing: StandingRecord,
    isFirst: boolean,
  ): Promise<IssuedToken | undefined> {
    try {
      const tip = await this.tipOf(presented, standing.record, isFirst);
      return await this.issueFrom(tip, presented, standing);
    } catch (error) {
      if (!(error instanceof TokenRevokedError)) throw error;
      // Perhaps it is not there any more: it may have left before that was shut.
      const { sealed } = await this.parts.sessions.read(presented);
      if (sealed === standing.sealed) throw error;
      return undefined;
    }
  }

  // --- what a refresh token stands for -------------------------------------------------------

  /**
   * The token itself, or what answers for it: in its grace period the tip of its successors, later
   * its direct successor, as long as nobody has used that. Beyond that it was used twice, and one
   * of the two users is a thief.
   */
  private async tipOf(
    presented: VerifiedToken,
    record: SessionRecord | undefined,
    isTold: boolean,
  ): Promise<Tip> {
    const { verdict, ...tip } = await this.lookAlive(presented, record);
    if (verdict.state !== 'superseded') return tip;
    const inGrace = this.parts.denyList.isInGrace(verdict.at);
    const { sub, sid, jti } = presented;
    if (isTold) this.parts.events.emit('superseded-use', { sub, sid, jti, inGrace });
    if (!inGrace && verdict.isSpent) await this.endSession(presented);
    let token = successorOf(verdict);
    for (let hop = 0; hop < MAX_HOPS; hop++) {
      const { verdict: next, ...found } = await this.lookAlive(token, record);
      if (next.state !== 'superseded') return found;
      if (!inGrace) await this.endSession(presented);
      token = successorOf(next);
    }
    throw new TooManySuccessorsError();
  }

  /** A stale mark is no matter here: the access token is made from today's truth anyway. */
  private async lookAlive(
    token: VerifiedToken,
    record: SessionRecord | undefined,
  ): Promise<Tip & { verdict: Verdict }> {
    const judged = asJudged(token, record);
    const { verdict, snapshot } = await this.parts.denyList.lookInStore(judged, 'refresh');
    if (verdict.state === 'revoked') throw new TokenRevokedError();
    if (verdict.state === 'lost') throw new DenyListLostError();
    return { token, continued: continued(token, record), snapshot, verdict };
  }

  private async endSession({ sub, sid, jti }: VerifiedToken): Promise<never> {
    const { denyList, events } = this.parts;
    // First, so that it is told though the revocation be not confirmed and has to be tried again.
    events.emit('refresh-reuse', { sub, sid, jti });
    await denyList.revokeSession(sid, 'refresh-reuse');
    throw new TokenSupersededError();
  }

  // --- what it is exchanged for --------------------------------------------------------------

  /** `undefined` as in {@link attempt}. */
  private async issueFrom(
    { token, continued, snapshot }: Tip,
    presented: VerifiedToken,
    standing: StandingRecord,
  ): Promise<IssuedToken | undefined> {
    const { mint, denyList, composer, sessions, scopeClaims } = this.parts;
    const { record } = standing;
    const access = await composer.compose(continued, snapshot, {
      renew: true,
      after: record && newestIn(record),
    });
    // To be told of the tip once more is no use of it: it stays as it is.
    const isUse = token === presented;
    const refresh = isUse ? (mint.refreshTokenFor(access, token) as VerifiedToken) : token;
    // Signed before anything is written: what cannot be signed must not replace what works.
    const issued = mint.sign(access, refresh);
    // What the source has overruled must not come back from the record either.
    const kinds = [...scopeClaims, ...Object.keys(record?.choices ?? {})];
    const moved = chosenClaims(continued, access, undefined, kinds);
    // Nor may what it relies on be taken back by the one who has written it.
    const names = [...new Set([...moved, ...(record ? tentativeIn(record) : [])])];
    const choosing = { before: continued, token: access, names };
    // Before it takes effect, also where the refresh token stays the same: it does not know of it.
    const kept =
      names.length > 0 ? await sessions.advance(standing, choosing, snapshot.marks) : standing;
    if (!kept) return undefined;
    await sessions.settle(access, kept, standing);
    if (isUse) {
      if (await denyList.supersede(token, refresh, 'refresh')) return undefined;
      denyList.conclude(token);
    }
    // Into a tenant, say, that has been revoked since: the session must not go on beside it.
    const now = await sessions.read(presented);
    if (hasMoved(kept.record, now.record)) return undefined;
    const { sub, sid, jti } = access;
    const ids = { sub, sid, jti, refreshJti: refresh.jti, predecessor: presented.jti };
    this.parts.events.emit('reissued', { ...ids, why: 'refresh-token' });
    return issued;
  }
}

/** Whether a session says something else by now: that it has only settled is no matter. */
function hasMoved(before: SessionRecord | undefined, now: SessionRecord | undefined): boolean {
  return now ? !before || !addsNothing(now, before) : before !== undefined;
}

/** Without its record nobody can be led on. */
function successorOf({ successor }: Superseded): VerifiedToken {
  if (successor) return successor;
  throw new TokenSupersededError();
}
