import type { DenyList } from '../deny-list/deny-list.js';
import type { Mark } from '../deny-list/marks.js';
import {
  DenyListLostError,
  DenyListUnavailableError,
  TokenRevokedError,
} from '../jwt-state.errors.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { type Choosing, withChoices } from './choosing.js';
import { addsNothing, asJudged, leavesMore } from './session-record.js';
import type { SessionRecords, StandingRecord } from './session-records.js';

/** A record is exchanged against the one that stands there; this often it may have moved on. */
const EXCHANGE_ATTEMPTS = 100;

interface Judgement {
  /** All marks of the scopes that the session is in, or has just left. */
  readonly marks?: readonly Mark[];
  /** The record was another by then, so nothing was found out. */
  readonly overtakenBy?: StandingRecord;
}

/**
 * The rules by which the record of a session changes.
 *
 * Who changes it has judged the session by the record that stood there. And a session has left a scope
 * when its record says so and a look *after* that has found the scope not revoked: until then it is
 * judged by that scope, too, whoever comes. So a revocation that was confirmed before the record was
 * written ends the session, in whichever process, and whatever fails on the way.
 */
export class SessionKeeper {
  constructor(
    private readonly records: SessionRecords,
    private readonly denyList: DenyList,
    private readonly scopeClaims: readonly string[],
  ) {}

  read(session: VerifiedToken): Promise<StandingRecord> {
    return this.records.read(session);
  }

  /**
   * For who goes on from an access token, which does not know where else the session has been. Of two
   * that change it at once the later one counts. What it leaves by that is settled.
   *
   * @param known what stands there, where the caller has read it
   * @throws TokenRevokedError where the session was in a scope that has been revoked
   * @throws DenyListUnavailableError where it is not confirmed
   */
  async keep(choosing: Choosing, known: StandingRecord = {}): Promise<void> {
    const { before, token, isTentative, insteadOf } = choosing;
    // Refreshes are to bring newer tokens than one that was made by a choice, though it be the same again.
    const isChoice = !isTentative && insteadOf === undefined;
    let standing = known;
    for (let attempt = 0; attempt < EXCHANGE_ATTEMPTS; attempt++) {
      const { record } = standing;
      // After the new token's marks were read: what it takes for known must not pardon the session.
      const judgement = record && (await this.judge(before, standing));
      if (judgement?.overtakenBy) {
        standing = judgement.overtakenBy;
        continue;
      }
      const marks = judgement?.marks;
      const next = withChoices(record, choosing, { scopeClaims: this.scopeClaims, marks });
      const isNews = !record || !addsNothing(next, record) || leavesMore(next, record);
      if (!isNews && !isChoice) return this.settle(before, standing, standing);
      const result = await this.records.exchange(token, standing, next);
      if (result.written) return this.settle(before, result.standing);
      standing = result.standing;
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  /**
   * For who goes on from the record itself, and has judged the session by it.
   *
   * @param marks by which it was judged
   * @returns what stands there then; `undefined`: the record was changed meanwhile, to something else
   */
  async advance(
    standing: StandingRecord,
    choosing: Choosing,
    marks: readonly Mark[],
  ): Promise<StandingRecord | undefined> {
    const next = withChoices(standing.record, choosing, { scopeClaims: this.scopeClaims, marks });
    const result = await this.records.exchange(choosing.token, standing, next);
    const { record } = result.standing;
    // Parallel exchanges write the same, and one of them is enough.
    const isSame = record && addsNothing(record, next) && addsNothing(next, record);
    return result.written || isSame ? result.standing : undefined;
  }

  /**
   * After the record was written, and before anything is replaced by what it says: ends the session
   * where a scope that it has left had been revoked before.
   *
   * @param judged what the caller has read before it judged the session
   * @throws TokenRevokedError
   * @throws DenyListUnavailableError: nobody knows, and nothing was consumed
   */
  async settle(
    session: VerifiedToken,
    standing: StandingRecord,
    judged?: StandingRecord,
  ): Promise<void> {
    const { record, sealed } = standing;
    if (!record?.left) return;
    if (sealed !== judged?.sealed) {
      const { overtakenBy } = await this.judge(session, standing);
      // Whoever has changed the record meanwhile had found that what it had left was left in time.
      if (overtakenBy) return;
    }
    const { left, ...settled } = record;
    // Somebody else may be faster here, too; and where the store fails, the next refresh does it.
    await this.records.exchange(session, standing, settled).catch(() => {});
  }

  /** @throws TokenRevokedError by what its record says: the session is ended */
  private async judge(session: VerifiedToken, standing: StandingRecord): Promise<Judgement> {
    const judged = asJudged(session, standing.record);
    const { verdict, snapshot } = await this.denyList.lookInStore(judged);
    if (verdict.state === 'lost') throw new DenyListLostError();
    if (verdict.state !== 'revoked') return { marks: snapshot.marks };
    // It may have gone elsewhere before that was shut.
    const now = await this.records.read(session);
    if (now.sealed !== standing.sealed) return { overtakenBy: now };
    // That stands whether or not it can be written down.
    await this.denyList.revokeSession(session.sid, 'left-scope').catch(() => {});
    throw new TokenRevokedError();
  }
}
