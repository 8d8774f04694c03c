import type { Clock } from '../clock.js';
import type { ReissueReason } from '../events/events.js';
import type { EventSink } from '../events/token-events.js';
import { TokenRevokedError } from '../jwt-state.errors.js';
import { currentOf, type Generations, withArrival, withReplacement } from '../state/generations.js';
import { newMarkId } from '../state/mark-id.js';
import {
  formatSessionState,
  parseSessionState,
  type SessionState,
} from '../state/session-state.js';
import type { StaleMark } from '../state/stale-mark.js';
import type { StateKeys } from '../state/state-keys.js';
import type { Witness } from '../state/witness.js';
import type { Check, StateStore, Write } from '../store/state-store.js';
import type { IssuedToken } from '../token/issued-token.js';
import { tokenIdAt } from '../token/token-id.js';
import type { TokenMint } from '../token/token-mint.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { Arrivals } from './arrivals.js';
import { choicesAfter } from './choices.js';
import type { Composer, Composition, CompositionRequest } from './composer.js';
import { isOnlyMarked } from './conflict.js';
import { formatHistory } from './history.js';
import type { Lifetimes } from './lifetimes.js';
import type { SealedRecords } from './sealed-records.js';
import { nextTime, type SessionStanding, type StandingReader } from './standing.js';

/** How a reissue differs from "the same with today's truth", and why it happens. */
export interface ReissueRequest extends CompositionRequest {
  /** Told to the audit log. */
  readonly why: ReissueReason;
}

export interface ReissuerParts {
  readonly store: StateStore;
  readonly keys: StateKeys;
  readonly witness: Witness;
  readonly standings: StandingReader;
  readonly composer: Composer;
  readonly records: SealedRecords;
  readonly lifetimes: Lifetimes;
  readonly mint: TokenMint;
  readonly arrivals: Arrivals;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly settings: ReissuerSettings;
}

export interface ReissuerSettings {
  /** In ms. */
  readonly gracePeriod: number;
  /** Whether a replacement counts as arrived as soon as the store has confirmed it. */
  readonly arrivesWhenConfirmed: boolean;
}

/** This often marks and arrivals may be written between a look and the commit that follows from it. */
const REPEATS = 30;

/**
 * Replaces access tokens. The order is the whole point: marks, then claims, then the signature, then one
 * commit; nothing leaves before that is confirmed.
 */
export class Reissuer {
  constructor(private readonly parts: ReissuerParts) {}

  /**
   * One attempt to replace the token that a standing was read for. The caller has judged it.
   *
   * @returns `undefined`: another request was faster, so everything is to be read again
   * @throws DenyListUnavailableError: nobody knows whether the token was replaced. If it was, it leads to the
   *   replacement, whose grace period nobody has begun
   */
  async attempt(
    standing: SessionStanding,
    request: ReissueRequest,
  ): Promise<IssuedToken | undefined> {
    const { composer, standings, arrivals, events, settings, keys } = this.parts;
    const { presented, place, look } = standing;
    if (standings.isRevoked(place, look)) throw new TokenRevokedError();
    const composition = await composer.compose(standing, request);
    const key = keys.session(presented.sid);
    const first = look.value(key);
    // Not before the claims were read: an equal of another tab must not keep the older choice.
    const ownMark = request.changes && newMarkId(this.parts.clock.now());
    let value = first;
    for (let repeat = 0; repeat <= REPEATS; repeat++) {
      const step = this.stepOn(value, standing, composition, request, ownMark);
      const standingValues = await this.parts.store.commit(step);
      if (standingValues === undefined) {
        if (settings.arrivesWhenConfirmed) arrivals.note(step.token, step.session);
        const { sub, sid, jti } = step.token;
        events.emit('reissued', { sub, sid, jti, predecessor: presented.jti, why: request.why });
        return step.issued;
      }
      if (!isOnlyMarked(first, step.checks, standingValues, ownMark !== undefined))
        return undefined;
      value = standingValues[0];
    }
    return undefined;
  }

  /** Everything that one attempt writes, on top of what stands under the key of the session. */
  private stepOn(
    value: string | undefined,
    standing: SessionStanding,
    { claims, left, look }: Composition,
    { changes }: ReissueRequest,
    ownMark: string | undefined,
  ) {
    const { keys, mint, records, lifetimes, witness, clock, standings } = this.parts;
    const { presented, token, place, history, choices } = standing;
    const now = clock.now();
    const state = parseSessionState(value);
    const at = nextTime(standing, state.generations, now);
    const gen = Math.max(currentOf(state.generations), token.seen.gen ?? 0) + 1;
    const next = newToken(claims, gen, at, ownMark);
    // Signed before it is written: a token that cannot be signed must not replace one that works.
    const issued = mint.sign(next);
    const { scopes } = standings;
    const chosen = choicesAfter(choices, {
      place,
      next,
      changes,
      scopeClaims: scopes.claims,
      at,
    });
    const session = formatSessionState({
      ...state,
      generations: this.generationsAfter(state, presented, gen, at),
      stale: ownMark === undefined ? state.stale : ownStaleMark(ownMark, state, now),
    });
    const sessionTtl =
      ownMark !== undefined || state.stale
        ? witness.keepFor
        : lifetimes.session(now, [presented, token, next]);
    const writes: Write[] = [
      { key: keys.session(next.sid), value: session, ttl: sessionTtl },
      { key: keys.tip(next.sid), value: records.sealTip(next), ttl: lifetimes.tip },
    ];
    if (chosen) {
      const sealedChoices = records.sealChoices(next, chosen);
      const value = formatHistory({ ...history, sealedChoices });
      writes.push({ key: keys.history(next.sid), value, ttl: witness.keepFor });
    }
    const read = [keys.history(next.sid), ...left.map((scope) => keys.scope(scope))];
    const checks: Check[] = [
      { key: keys.session(next.sid), expected: value },
      ...read.map((key) => ({ key, expected: look.value(key) })),
    ];
    return { checks, writes, token: next, issued, session };
  }

  private generationsAfter(
    { generations }: SessionState,
    { seen }: VerifiedToken,
    n: number,
    at: number,
  ): Generations {
    const now = this.parts.clock.now();
    // The client has presented it, so it has it.
    const arrived = withArrival(generations, seen.gen ?? 0, now);
    const made = { n, at, arrived: false };
    return withReplacement(arrived, made, now, this.parts.settings.gracePeriod);
  }
}

function newToken(
  claims: VerifiedToken,
  gen: number,
  at: number,
  ownMark: string | undefined,
): VerifiedToken {
  const { stale = [] } = claims.seen;
  const seen = {
    ...claims.seen,
    gen,
    ...(ownMark !== undefined && { stale: [...stale, ownMark] }),
  };
  return { ...claims, jti: tokenIdAt(at), seen };
}

/** The mark of an explicit change; handlers at work keep their deadlines. */
function ownStaleMark(id: string, { stale }: SessionState, now: number): StaleMark {
  const deadlines = [...(stale?.deadlines ?? [])].filter(([, until]) => until > now);
  return { id, deadlines: new Map(deadlines) };
}
