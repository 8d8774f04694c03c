import type { Clock } from '../clock.js';
import type { EventSink } from '../events/token-events.js';
import {
  DenyListLostError,
  DenyListUnavailableError,
  TokenRevokedError,
  TokenSupersededError,
} from '../jwt-state.errors.js';
import { currentOf, type Generations, withReplacement } from '../state/generations.js';
import { judgeRefresh, type RefreshVerdict } from '../state/judge.js';
import { parseSessionState } from '../state/session-state.js';
import type { StateKeys } from '../state/state-keys.js';
import type { Witness } from '../state/witness.js';
import type { Check, StateStore, Write } from '../store/state-store.js';
import type { IssuedToken } from '../token/issued-token.js';
import { tokenIdAt } from '../token/token-id.js';
import type { TokenMint } from '../token/token-mint.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { choicesAfter } from './choices.js';
import type { Composer, Composition } from './composer.js';
import { isOnlyMarked } from './conflict.js';
import { formatHistory } from './history.js';
import type { Lifetimes } from './lifetimes.js';
import type { SealedRecords } from './sealed-records.js';
import type { SessionEnder } from './session-ender.js';
import { latestKnown, nextTime, type SessionStanding, type StandingReader } from './standing.js';

export interface RefresherParts {
  readonly store: StateStore;
  readonly keys: StateKeys;
  readonly witness: Witness;
  readonly standings: StandingReader;
  readonly composer: Composer;
  readonly records: SealedRecords;
  readonly lifetimes: Lifetimes;
  readonly mint: TokenMint;
  readonly ender: SessionEnder;
  readonly events: EventSink;
  readonly clock: Clock;
  /** In ms, from any point: not the wall clock, which may be put forward. */
  readonly monotonic: () => number;
  /** In ms. */
  readonly gracePeriod: number;
}

/** This often somebody else may be faster. */
const ATTEMPTS = 32;
/** This often marks and arrivals may be written between a look and the commit that follows from it. */
const REPEATS = 30;
/**
 * Reuse is only judged by what was read this soon after the request began, in ms. A process that was frozen
 * in between would take its own delay for a second use.
 */
const JUDGED_WITHIN = 5_000;

/** Exchanges refresh tokens. Each use is one entry in the history of the session, by one commit. */
export class Refresher {
  constructor(private readonly parts: RefresherParts) {}

  /**
   * @param presented its signature and claims were checked
   * @param begunAt when the request began, by {@link RefresherParts.monotonic}
   * @throws TokenRevokedError, TokenSupersededError, DenyListLostError: it leads to nothing
   * @throws DenyListUnavailableError, ClaimsUnavailableError: the same token works later
   */
  async refresh(presented: VerifiedToken, begunAt: number): Promise<IssuedToken> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const standing = await this.parts.standings.readForRefresh(presented);
      if (standing.refusal === 'revoked') throw new TokenRevokedError();
      if (standing.refusal === 'lost') throw new DenyListLostError();
      const verdict = await this.verdictOn(standing, attempt === 0, begunAt);
      const issued = await this.attempt(standing, verdict === 'exchange');
      if (issued) return issued;
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  private async verdictOn(
    { presented, history }: SessionStanding,
    isFirst: boolean,
    begunAt: number,
  ): Promise<Exclude<RefreshVerdict, 'reuse'>> {
    const { clock, gracePeriod, monotonic } = this.parts;
    const verdict = judgeRefresh(presented, history.uses, clock.now(), gracePeriod);
    if (isFirst && verdict !== 'exchange') this.announceUse(presented, verdict);
    if (verdict !== 'reuse') return verdict;
    // One that was overtaken, or repeated, is no second use.
    if (!isFirst) return 'repeat';
    if (monotonic() - begunAt > JUDGED_WITHIN) {
      throw new DenyListUnavailableError('This request took too long to be judged.');
    }
    return this.endSession(presented);
  }

  private announceUse({ sub, sid, jti }: VerifiedToken, verdict: RefreshVerdict): void {
    this.parts.events.emit('superseded-use', { sub, sid, jti, inGrace: verdict === 'repeat' });
  }

  private async endSession({ sub, sid, jti }: VerifiedToken): Promise<never> {
    const { ender, events } = this.parts;
    // First, so that it is told though the revocation be not confirmed and has to be tried again.
    events.emit('refresh-reuse', { sub, sid, jti });
    await ender.end(sid, 'refresh-reuse');
    throw new TokenSupersededError();
  }

  /** `undefined`: another request was faster, so everything is to be read again. */
  private async attempt(
    standing: SessionStanding,
    isUse: boolean,
  ): Promise<IssuedToken | undefined> {
    const { composer, keys, events } = this.parts;
    const { presented, place } = standing;
    // What the session has chosen is part of the token from here on.
    const from = { ...standing, token: place };
    const composition = await composer.compose(from, { renew: true });
    const first = standing.look.value(keys.session(presented.sid));
    let value = first;
    for (let repeat = 0; repeat <= REPEATS; repeat++) {
      const step = this.stepOn(value, from, composition, isUse);
      const values = step.writes.length > 0 ? await this.parts.store.commit(step) : undefined;
      if (values === undefined) {
        const { sub, sid, jti } = step.access;
        const refreshJti = step.issued.refreshClaims?.jti as string;
        const ids = { sub, sid, jti, refreshJti, predecessor: presented.jti };
        events.emit('reissued', { ...ids, why: 'refresh-token' });
        return step.issued;
      }
      if (!isOnlyMarked(first, step.checks, values, false)) return undefined;
      value = values[0];
    }
    return undefined;
  }

  /** What one attempt writes, on top of what stands under the key of the session: nothing, if it is a repetition. */
  private stepOn(
    value: string | undefined,
    standing: SessionStanding,
    { claims, left, look }: Composition,
    isUse: boolean,
  ) {
    const { keys, mint, records, clock, standings, lifetimes, witness } = this.parts;
    const { presented, place, history, choices } = standing;
    const { generations } = parseSessionState(value);
    const now = clock.now();
    const uses = currentOf(history.uses);
    const gen = isUse ? (presented.seen.gen ?? 0) + 1 : uses;
    const later = nextTime(standing, generations, now);
    const scopeClaims = standings.scopes.claims;
    const choosing = { place, next: claims, changes: undefined, scopeClaims, at: later };
    const chosen = choicesAfter(choices, choosing);
    // A repetition that changes nothing is newer than all before, and older than whatever comes next: so
    // its answer, however late, brings back no older choice.
    const at = isUse || chosen ? later : latestKnown(standing, generations) + 1;
    const access = accessToken(claims, currentOf(generations), at);
    const refresh = mint.refreshTokenOf(access, gen) as VerifiedToken;
    // Signed before it is written: what cannot be signed must not replace what works.
    const issued = mint.sign(access, refresh);
    const writes: Write[] = [];
    if (isUse || chosen) {
      const sealedChoices = chosen ? records.sealChoices(access, chosen) : history.sealedChoices;
      const after = isUse ? this.usesAfter(history.uses, gen, at) : history.uses;
      writes.push({
        key: keys.history(access.sid),
        value: formatHistory({ uses: after, sealedChoices }),
        ttl:
          sealedChoices === undefined
            ? lifetimes.history(now, [presented, refresh])
            : witness.keepFor,
      });
    }
    const read = [keys.history(access.sid), ...left.map((scope) => keys.scope(scope))];
    const checks: Check[] = [
      { key: keys.session(access.sid), expected: value },
      ...read.map((key) => ({ key, expected: look.value(key) })),
    ];
    return { checks, writes, access, issued };
  }

  private usesAfter(uses: Generations, n: number, at: number): Generations {
    const { clock, gracePeriod } = this.parts;
    return withReplacement(uses, { n, at, arrived: true }, clock.now(), gracePeriod);
  }
}

function accessToken(claims: VerifiedToken, gen: number, at: number): VerifiedToken {
  const { gen: _, ...seen } = claims.seen;
  return { ...claims, jti: tokenIdAt(at), seen: { ...seen, ...(gen > 0 && { gen }) } };
}
