import type { Clock } from '../clock.js';
import { DenyListUnavailableError, TokenExpiredError } from '../jwt-state.errors.js';
import { currentOf, type Generations, latestOf } from '../state/generations.js';
import { type JudgeRules, judge, refusalOf, type Verdict } from '../state/judge.js';
import type { Look } from '../state/look.js';
import type { StateReader } from '../state/state-reader.js';
import { isRevokedBy } from '../state/token-marks.js';
import { timeOfTokenId } from '../token/token-id.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { type Choices, placeOf } from './choices.js';
import { type History, parseHistory } from './history.js';
import type { SealedRecords, Tip } from './sealed-records.js';
import type { SessionScopes } from './session-scopes.js';

/** What the store says of a session, seen from one of its tokens. */
export interface SessionStanding {
  readonly presented: VerifiedToken;
  /** The token that is judged, and replaced: the presented one, or the tip it leads to. */
  readonly token: VerifiedToken;
  /** Where the session is: the token with what the session has chosen. */
  readonly place: VerifiedToken;
  readonly look: Look;
  readonly history: History;
  readonly choices: Choices | undefined;
}

/** The same of an access token, with what it is now. */
export interface Standing extends SessionStanding {
  readonly verdict: Verdict;
  /** The presented token was replaced, and nobody can say by what. */
  readonly isLed: boolean;
}

export interface ReadOptions {
  /** The request was let in with this token before: that its grace period has ended since does not matter. */
  readonly isAdmitted?: boolean;
  /** A handler has run since then, which may take longer than the token lives. */
  readonly mayHaveExpired?: boolean;
  /** A look at everything about the token that the caller has just had. */
  readonly ahead?: Look | undefined;
}

/** Records name further records; this often they may be others by the time those are read. */
const ATTEMPTS = 8;

/** Reads everything that has a say in what happens to a session. */
export class StandingReader {
  constructor(
    private readonly reader: StateReader,
    private readonly records: SealedRecords,
    readonly scopes: SessionScopes,
    private readonly clock: Clock,
    private readonly rules: JudgeRules & { readonly clockTolerance: number },
  ) {}

  /** Of an access token. @throws TokenExpiredError */
  async read(presented: VerifiedToken, options: ReadOptions = {}): Promise<Standing> {
    const { isAdmitted = false, mayHaveExpired = false, ahead } = options;
    const wanted = this.keysOf(presented, this.reader.keys.tip(presented.sid));
    return this.settled(presented, wanted, ahead, async (look) => {
      if (!mayHaveExpired) this.refuseExpired(presented);
      const verdict = this.judge(presented, look, isAdmitted);
      if (verdict.state !== 'superseded') return { token: presented, verdict, isLed: false };
      const tip = await this.tipIn(look, presented);
      if (!tip) return { token: presented, verdict, isLed: true };
      return { token: tip.claims, verdict: this.judge(tip.claims, look, false), isLed: false };
    });
  }

  /** Of a refresh token, which is refused by where its session is now. */
  async readForRefresh(
    presented: VerifiedToken,
  ): Promise<SessionStanding & { refusal: 'revoked' | 'lost' | undefined }> {
    const standing = await this.settled(presented, this.keysOf(presented), undefined, async () => {
      this.refuseExpired(presented);
      return { token: presented };
    });
    const { place, look } = standing;
    const state = look.stateOf(place, this.scopes.of(place));
    return { ...standing, refusal: refusalOf(place, state, this.rules.onLoss) };
  }

  /** Everything to read of an access token, for a caller that has a look of its own. */
  keysForLook(token: VerifiedToken): string[] {
    return [...this.keysOf(token, this.reader.keys.tip(token.sid))];
  }

  /** Looks until everything was read in one look that what was found there speaks of. */
  private async settled<T extends { readonly token: VerifiedToken }>(
    presented: VerifiedToken,
    wanted: Set<string>,
    ahead: Look | undefined,
    find: (look: Look) => Promise<T>,
  ): Promise<SessionStanding & T> {
    const key = this.reader.keys.history(presented.sid);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const look = (attempt === 0 && ahead) || (await this.reader.look([...wanted]));
      const history = parseHistory(look.value(key));
      const choices = await this.records.openChoices(history.sealedChoices, presented);
      const found = await find(look);
      const place = placeOf(found.token, choices);
      for (const token of [found.token, place]) {
        for (const scopeKey of this.scopes.keysOf(token)) wanted.add(scopeKey);
      }
      const isComplete = [...wanted].every((name) => look.has(name));
      if (isComplete) return { presented, place, look, history, choices, ...found };
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  /** Again, once the store has answered: its records end when the tokens do that they speak of. */
  private refuseExpired({ exp }: VerifiedToken): void {
    const { clockTolerance } = this.rules;
    if (this.clock.now() >= exp * 1000 + clockTolerance) throw new TokenExpiredError();
  }

  private keysOf(token: VerifiedToken, ...others: string[]): Set<string> {
    const { keys } = this.reader;
    const ofSession = [keys.session(token.sid), keys.history(token.sid)];
    return new Set([...ofSession, ...others, ...this.scopes.keysOf(token)]);
  }

  /** Whether a scope of this token has been revoked: for a place, which no judge has seen. */
  isRevoked(token: VerifiedToken, look: Look): boolean {
    return this.scopes.of(token).some((scope) => isRevokedBy(token, look.scope(scope)));
  }

  /** A tip counts while it is the newest generation, and has not expired. */
  private async tipIn(look: Look, presented: VerifiedToken): Promise<Tip | undefined> {
    const value = look.value(this.reader.keys.tip(presented.sid));
    const tip = await this.records.openTip(value, presented);
    const current = currentOf(look.session(presented.sid).generations);
    return tip?.gen === current ? tip : undefined;
  }

  /** Without the scopes that are not read yet: with those, everything is looked at again. */
  private judge(token: VerifiedToken, look: Look, isAdmitted: boolean): Verdict {
    const scopes = this.scopes.of(token).filter((scope) => look.has(this.reader.keys.scope(scope)));
    const verdict = judge(token, look.stateOf(token, scopes), this.clock.now(), this.rules);
    return isAdmitted && verdict.state === 'over' ? { state: 'superseded' } : verdict;
  }
}

/** The latest ms that the records of a session know. @param generations as they stand now */
export function latestKnown(
  { history, choices }: SessionStanding,
  generations: Generations,
): number {
  return Math.max(latestOf(generations), latestOf(history.uses), choices?.at ?? 0);
}

/**
 * The ms of the next token of a session, in its `jti`: later than everything its records know, on whichever
 * host. A client that keeps the later token so keeps the one that was written later.
 */
export function nextTime(standing: SessionStanding, generations: Generations, now: number): number {
  const { presented, token } = standing;
  return Math.max(
    now,
    latestKnown(standing, generations) + 2,
    (timeOfTokenId(presented.jti) ?? 0) + 1,
    (timeOfTokenId(token.jti) ?? 0) + 1,
  );
}
