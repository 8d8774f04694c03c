import type { DenyList } from '../deny-list/deny-list.js';
import type { Look } from '../deny-list/look.js';
import type { MarkSnapshot } from '../deny-list/marks.js';
import type { TokenEvents } from '../events/token-events.js';
import {
  DenyListLostError,
  ForeignTokenError,
  TokenRevokedError,
  TokenStaleError,
  TokenSupersededError,
  TooManySuccessorsError,
} from '../jwt-state.errors.js';
import { type Choosing, chosenClaims } from '../session/choosing.js';
import type { SessionKeeper } from '../session/session-keeper.js';
import { newestIn } from '../session/session-record.js';
import type { StandingRecord } from '../session/session-records.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import { carries } from './carries.js';
import type { ReissueRequest } from './reissue-request.js';
import type { TokenComposer } from './token-composer.js';

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
 * Replaces access tokens. The order is the whole point: marks, then claims, then signature, then
 * the record that makes the predecessor lead to the successor; nothing leaves before that record is
 * confirmed.
 */
export class Reissuer {
  /** @param sessions where sessions may have refresh tokens, which must learn what they have chosen */
  constructor(
    private readonly denyList: DenyList,
    private readonly composer: TokenComposer,
    private readonly mint: TokenMint,
    private readonly sessions: SessionKeeper | undefined,
    private readonly events: TokenEvents,
    private readonly scopeClaims: readonly string[],
  ) {}

  /** What the token should say now, for those who leave replacing it to others. */
  freshClaims(token: VerifiedToken): Promise<Claims> {
    return this.composer.readClaims(token);
  }

  /** One attempt, from marks that were read already. The caller has judged the predecessor. */
  async succeed(
    predecessor: VerifiedToken,
    snapshot: MarkSnapshot,
    request: ReissueRequest,
  ): Promise<Succession> {
    const { changes } = request;
    // Two that choose one after the other, on hosts whose clocks differ: the later one is the newer.
    const known = changes && (await this.sessions?.read(predecessor));
    const after = known?.record && newestIn(known.record);
    const successor = await this.composer.compose(predecessor, snapshot, { ...request, after });
    // Signed before it is written: a token that cannot be signed must not replace one that works.
    const issued = this.mint.sign(successor);
    const names = chosenClaims(predecessor, successor, changes, this.scopeClaims);
    const choosing: Choosing = { before: predecessor, token: successor, names };
    // Before it takes effect: what is answered as done must be found by the next refresh.
    await this.keep({ ...choosing, isTentative: !changes }, known);
    const winner = await this.denyList.supersede(predecessor, successor);
    if (winner) {
      // Where the session is, the winner says.
      if (!changes) await this.keep({ ...choosing, token: winner, insteadOf: successor.jti });
      return { successor: winner };
    }
    const { sub, sid, jti } = successor;
    this.events.emit('reissued', { sub, sid, jti, predecessor: predecessor.jti, why: request.why });
    return { successor, issued };
  }

  private async keep(choosing: Choosing, known?: StandingRecord): Promise<void> {
    if (choosing.names.length > 0) await this.sessions?.keep(choosing, known);
  }

  /**
   * Replaces the tip of the token's successors by a token that carries the request, or answers
   * that tip if it carries it already. For callers that have judged the token themselves.
   *
   * @param presented the token the client holds, where `current` is already a successor of it
   * @param ahead a look at `current` that the caller has just had
   */
  async replace(
    current: VerifiedToken,
    request: ReissueRequest,
    presented: VerifiedToken = current,
    ahead?: Look,
  ): Promise<IssuedToken> {
    if (current.seen.origin === 'foreign') throw new ForeignTokenError();
    let token = current;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const look = (hop === 0 && ahead) || (await this.denyList.lookInStore(token));
      const { verdict, snapshot } = this.alive(look);
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

  private alive(look: Look): Look {
    const { verdict } = look;
    if (verdict.state === 'revoked') throw new TokenRevokedError();
    if (verdict.state === 'lost') throw new DenyListLostError();
    // Copying old claims would make a token that says it knows of the change.
    if (verdict.state === 'stale' && verdict.why !== 'legacy' && !this.composer.canRead) {
      throw new TokenStaleError();
    }
    return look;
  }
}
