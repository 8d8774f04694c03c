import { readClaims, type TokenClaims } from './claims.js';

/**
 * What a client holds, in this form also in its storage and between tabs.
 *
 * Two of them meet all the time: a response that is late, another tab, what was stored. {@link newest}
 * says which one counts, and all who hold the same two come to the same answer.
 */
export interface Session {
  /**
   * Which sign-in or sign-out it comes from: the time of that, in milliseconds, and at least one more than
   * every turn that was known then. What belongs to a former turn is over. 0: nothing is known.
   */
  readonly turn: number;
  readonly access?: string | undefined;
  readonly refresh?: string | undefined;
  /** When the access token came, by this device's clock, in milliseconds. 0: there was none yet. */
  readonly at: number;
  /** How long it lives from then on, in seconds, where that was said (`expires_in`). */
  readonly life?: number | undefined;
  /** Why the session ended. */
  readonly out?: string | undefined;
  /** Of a session that ended: which it was, and its last token. A sign-out ends whichever there is: `~`. */
  readonly sid?: string | undefined;
  readonly jti?: string | undefined;
}

/** A session before it has its turn. */
export type Arrival = Omit<Session, 'turn'>;

export const NOBODY: Session = { turn: 0, at: 0 };

/** A clock that was set back by more than this has left turns in the future. Milliseconds. */
const SLACK = 60_000;

/** What lies in a storage, or comes from another tab, may be anything at all. */
export function readSession(value: unknown): Session | undefined {
  const { turn, access, refresh, at, life, out, sid, jti } = Object(value) as Session;
  const isText = (text: unknown) => text === undefined || typeof text === 'string';
  const isSession =
    Number.isSafeInteger(turn) &&
    turn > 0 &&
    Number.isFinite(at) &&
    (out || at > 0) &&
    [access, refresh, out, sid, jti].every(isText) &&
    (access === undefined || readClaims(access));
  if (!isSession) return undefined;
  if (out) return { turn, at, out, sid, jti };
  return { turn, access, refresh, at, life: typeof life === 'number' ? life : undefined };
}

/**
 * The one that counts: of the later turn, and in the same session with the newer of each token.
 * @param other as {@link readSession} has let it in
 */
export function newest(held: Session, other: Session | undefined): Session {
  if (!other || !Number.isSafeInteger(other.turn)) return held;
  const pick = isLater(other, held) ? other : held;
  const isOne = held.turn === other.turn && sidOf(held) === sidOf(other);
  if (!isOne || held.out || other.out) return pick;
  const refresh = isNewer(other.refresh, held.refresh) ? other.refresh : held.refresh;
  return pick.refresh === refresh ? pick : { ...pick, refresh };
}

/** The turn of what begins now. A clock that was set back must not let what was there before win. */
export function nextTurn({ turn }: Session, now: number): number {
  return isAhead(turn) ? now : Math.max(now, turn + 1);
}

/** Whether a tab that held the one may go on with the other: nobody acts for somebody else. */
export function continues(now: Session, former: Session): boolean {
  if (now.out || former.out) return false;
  const sid = sidOf(former);
  return now.turn === former.turn || !former.at || (sid !== '' && sid === sidOf(now));
}

/** Whether neither the session nor its access token (where that is in a cookie: its time) is another. */
export function isSame(held: Session, former: Session): boolean {
  if (held.access !== former.access || held.out !== former.out) return false;
  return !!held.access || (held.turn === former.turn && held.at === former.at);
}

/** Whether an earlier sign-in or sign-out has led to it. */
export function isEarlier(one: Session, other: Session): boolean {
  return rankOf(one) < rankOf(other);
}

/** Empty where nothing is held, or a token from before this library: its own `sid` means nothing here. */
export function sidOf({ access, sid = '' }: Arrival): string {
  const claims = readClaims(access);
  return claims ? (claims.seen ? textOf(claims.sid) : '') : sid;
}

/** How long its token lives, in seconds, from when it came. `NaN`: nobody knows. */
export function lifeOf({ access, life }: Session): number {
  const { iat, exp } = (readClaims(access) ?? {}) as TokenClaims;
  return life ?? exp - iat;
}

/** Whether there is no need to ask the server: the device's clock says so as well. */
export function isExpired(session: Session): boolean {
  return session.at + lifeOf(session) * 1_000 <= Date.now();
}

/**
 * The later turn. Of one turn the rest decides, by a rule that all tabs follow: two sign-ins at the same
 * moment by their `sid`; of one session the newer token, and its end is the end of that token.
 */
function isLater(one: Session, other: Session): boolean {
  const [mine, its] = [orderOf(one), orderOf(other)];
  const differs = mine.findIndex((part, index) => part !== its[index]);
  return (mine[differs] as number) > (its[differs] as number);
}

function orderOf(session: Session): (number | string)[] {
  const { access, at, out, jti = '' } = session;
  const [token, end] = [jtiOf(access) || jti, out ? 1 : 0];
  return [rankOf(session), sidOf(session), token, ...(token ? [end, at] : [at, end])];
}

/** The future ranks below all that has happened, so that no number can block what comes. */
function rankOf({ turn }: Session): number {
  return isAhead(turn) ? turn - 2 ** 53 : turn;
}

function isAhead(turn: number): boolean {
  return turn > Date.now() + SLACK;
}

/** A UUIDv7, so the newer one sorts later as text. */
export function jtiOf(token: string | undefined): string {
  return textOf(readClaims(token)?.jti);
}

function isNewer(token: string | undefined, held: string | undefined): boolean {
  return jtiOf(token) > jtiOf(held);
}

function textOf(claim: unknown): string {
  return typeof claim === 'string' ? claim : '';
}
