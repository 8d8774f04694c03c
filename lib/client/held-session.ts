import { openChannel } from './channel.js';
import { readClaims, type TokenClaims } from './claims.js';
import {
  type Arrival,
  isEarlier,
  isSame,
  jtiOf,
  NOBODY,
  newest,
  nextTurn,
  readSession,
  type Session,
  sidOf,
} from './session.js';
import type { Surroundings } from './surroundings.js';
import type { TokenStorage } from './token-client.options.js';

/** Other tabs answer a hello within a few milliseconds. */
const ANSWERS_TAKE = 100;

/** The session of this client. */
export interface HeldSession {
  /** As it is now; another tab may have been faster. Asked before anything is decided. */
  sync(): Session;
  /** What its token says: the same object as long as it is the same token. Tells nobody at once. */
  claims(): Partial<TokenClaims> | undefined;
  /**
   * Takes tokens that a response brought, if they continue the session under which its request was sent.
   * @param turn of a refresh, which may also begin what only a cookie holds
   */
  adopt(sent: Session, tokens: Arrival, turn?: number): void;
  /** Another session. Or the same once more, and then the newer token counts. */
  signIn(next: Arrival): void;
  signOut(): void;
  /** The end, if it is still this session with this token that was refused. */
  end(refused: Session, out: string): void;
  /** Something happened here, and other tabs hear of it. */
  change(next: Session): void;
  /** Asks the other tabs what happened while this one slept. */
  catchUp(): void;
  /** Resolves when they have had the time to say it. */
  caughtUp(): Promise<unknown> | undefined;
  close(): void;
}

interface HeldSessionOptions {
  storage?: () => TokenStorage;
  onClaimsChanged?: (claims: never, previous: never) => void;
  onSignedOut?: (reason: string) => void;
}

/** Holds a session in step with its storage and with other tabs. */
export function holdSession(
  { key, tabs }: Pick<Surroundings, 'key' | 'tabs'>,
  { storage, onClaimsChanged, onSignedOut }: HeldSessionOptions,
  onChange: (session: Session) => void,
): HeldSession {
  let known: string | null | undefined;
  let session = visible(newest(NOBODY, read()), NOBODY);
  let claims = readClaims(session.access);

  /** @returns whether it made a difference */
  function meet(other?: Session, isHere?: boolean, isLater?: boolean): boolean {
    const [previous, former] = [session, claims];
    // Nothing is written over what another tab has written meanwhile.
    session = newest(newest(previous, read()), other);
    // It began anew elsewhere, with a cookie: what this tab got for it meanwhile still counts.
    const sid = sidOf(session);
    if (sid && sid === sidOf(previous) && !session.out && !previous.out)
      session = newest(session, { ...previous, turn: session.turn });
    if (!isHere) session = visible(session, previous);
    write();
    if (session === previous) return false;
    onChange(session);
    const { access, out } = session;
    if (access !== previous.access) claims = readClaims(access);
    const now = claims;
    const tell = () => {
      if (out && !previous.out) guarded(() => onSignedOut?.(out));
      guarded(() => {
        if (contentOf(now) !== contentOf(former)) onClaimsChanged?.(now as never, former as never);
      });
    };
    if (isLater) void Promise.resolve().then(tell);
    else tell();
    return true;
  }

  const channel = tabs
    ? openChannel(key, (other, isHello) => {
        const isNews = meet(other);
        const isOutdone = other && isEarlier(other, session);
        if (isHello || isOutdone || (isNews && session !== other)) say();
      })
    : undefined;
  let post = channel?.post;
  let answers: Promise<unknown> | undefined;
  /** What is not known to anybody is not news. */
  const say = (isHello?: boolean) => {
    const isKnown = session.at || session.out;
    if (isHello || isKnown) post?.(isKnown ? session : undefined, isHello);
  };
  say(true);

  // --- the storage, which may be full, forbidden, or hold anything ----------------------------

  /** `undefined`: nothing that is not known. */
  function read(): Session | undefined {
    try {
      const text = storage?.().getItem(key);
      if (!text || text === known) return undefined;
      known = text;
      return readSession(JSON.parse(text));
    } catch {
      return undefined;
    }
  }

  function write(): void {
    if (!session.at && !session.out) return;
    const text = JSON.stringify(session);
    if (text === known) return;
    try {
      storage?.().setItem(key, text);
      known = text;
    } catch {
      // It goes on in memory.
    }
  }

  // --- what happens to it ---------------------------------------------------------------------

  const sync = () => {
    const stored = read();
    if (stored) meet(stored);
    return session;
  };
  const change = (next: Session) => {
    if (meet(next, true)) say();
  };
  // A millisecond later than a refresh of this moment, which knows nothing of it.
  const begin = (next: Arrival) => change({ ...next, turn: nextTurn(sync(), Date.now() + 1) });

  return {
    sync,
    claims() {
      const stored = read();
      // Listeners may draw, and whoever asks here may be drawing.
      if (stored) meet(stored, false, true);
      return claims;
    },
    change,
    adopt(sent, tokens, turn) {
      const sid = sidOf(tokens);
      const held = sync();
      if (!sid || !jtiOf(tokens.access) || (held.out && turn === undefined)) return;
      // In the place of a token from before this library: of a former turn, it comes to nothing.
      const isTraded = held.access && !sidOf(held) && held.turn === sent.turn;
      if (!held.out && (sid === sidOf(held) || isTraded)) change({ ...tokens, turn: held.turn });
      else if (turn !== undefined) change({ ...tokens, turn });
    },
    signIn(next) {
      const held = sync();
      const sid = sidOf(next);
      if (sid && !held.out && sid === sidOf(held)) change({ ...next, turn: held.turn });
      else begin(next);
    },
    signOut: () => begin({ at: 0, out: 'SIGNED_OUT', sid: '~' }),
    end(refused, out) {
      const held = sync();
      if (!isSame(held, refused) || held.out) return;
      const { turn, at, access } = held;
      change({ turn, at, out, sid: sidOf(held), jti: jtiOf(access) });
    },
    catchUp() {
      sync();
      say(true);
      if (post) answers = new Promise((resolve) => setTimeout(resolve, ANSWERS_TAKE));
    },
    caughtUp: () => answers,
    close() {
      post = undefined;
      channel?.close();
    },
  };
}

/**
 * Where nobody was signed in, nobody is signed out: of such an end only the order is kept, so that what
 * came before it does not come back, and a cookie can still be asked for.
 */
function visible(session: Session, previous: Session): Session {
  const isNews = session.out && !previous.at && !previous.out;
  return isNews ? { ...NOBODY, turn: session.turn + 1 } : session;
}

/** A listener that throws is the application's mistake, and no reason to fail a request. */
function guarded(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    console.error(error);
  }
}

/** What the application cares about: each reissue has new ids and times, and an order of its own. */
function contentOf(claims: Partial<TokenClaims> | undefined): string | undefined {
  const content = { ...claims, jti: 0, iat: 0, exp: 0, seen: 0 };
  const names = Object.keys(content).sort();
  return claims && JSON.stringify(names.map((name) => [name, content[name as never]]));
}
