import { readClaims } from './claims.js';

/**
 * What a client holds, in this form also in its storage and between tabs.
 *
 * Two of them meet all the time: a response that is late, another tab, what was stored. {@link newest}
 * says which one counts, and all who hold the same two come to the same answer.
 */
export interface Session {
  /** How many sign-ins and sign-outs there were. What belongs to a former turn is over. */
  readonly turn: number;
  readonly access?: string | undefined;
  readonly refresh?: string | undefined;
  /** When the access token came, by this device's clock, in milliseconds. 0: there was none yet. */
  readonly at: number;
  /** How long it lives from then on, in seconds, where that was said (`expires_in`). */
  readonly life?: number | undefined;
  /** Why the session ended. */
  readonly out?: string;
}

/** A session before it has its turn. */
export type Arrival = Omit<Session, 'turn'>;

/**
 * The one that counts: of the later turn, and in the same session with the newer of each token.
 * @param other anything at all: what lies in a storage may be anybody's
 */
export function newest(held: Session, other: Session | undefined): Session {
  if (!other || !Number.isSafeInteger(other.turn) || other.turn < held.turn) return held;
  if (other.turn > held.turn) return other;
  // Signed in twice at the same moment, in two tabs: any rule will do that both of them follow.
  const [here, there] = [sidOf(held), sidOf(other)];
  if (here !== there) return here > there ? held : other;
  const isLater = held.access ? isNewer(other.access, held.access) : other.at > held.at;
  const pick = isLater ? other : held;
  const refresh = isNewer(other.refresh, held.refresh) ? other.refresh : held.refresh;
  return pick.refresh === refresh ? pick : { ...pick, refresh };
}

/** Whether neither the session nor its access token (where that is in a cookie: its time) is another. */
export function isSame(held: Session, former: Session): boolean {
  return held.turn === former.turn && (held.access ?? held.at) === (former.access ?? former.at);
}

/** Empty where nothing is held, or a token from before this library: its own `sid` means nothing here. */
export function sidOf({ access }: Arrival): string {
  const claims = readClaims(access);
  return claims?.seen ? `${claims.sid}` : '';
}

/** `jti` is a UUIDv7, so the newer one sorts later as text. */
function isNewer(token: string | undefined, held: string | undefined): boolean {
  return (readClaims(token)?.jti ?? '') > (readClaims(held)?.jti ?? '');
}
