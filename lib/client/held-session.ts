import { readClaims, type TokenClaims } from './claims.js';
import { type Arrival, isSame, newest, type Session, sidOf } from './session.js';
import { type Surroundings, unref } from './surroundings.js';
import type { TokenStorage } from './token-client.options.js';

/** The session of this client. */
export interface HeldSession {
  /** As it is now; another tab may have been faster. Asked before anything is decided. */
  sync(): Session;
  /** What its token says: the same object as long as it is the same token. */
  claims(): Partial<TokenClaims> | undefined;
  /**
   * Takes tokens that a response brought, if they continue the session under which its request was sent.
   * @param isAsked by a refresh, which may also begin what only a cookie holds
   */
  adopt(sent: Session, tokens: Arrival, isAsked?: boolean): void;
  /** Another session. Or the same once more, and then the newer token counts. */
  signIn(next: Arrival): void;
  /** The end, if it is still this session with this token that was refused. */
  end(refused: Session, out: string): void;
  /** The next turn. */
  begin(next: Arrival): void;
  /** Something happened here, and other tabs hear of it. */
  change(next: Session): void;
  close(): void;
}

interface HeldSessionOptions {
  storage?: () => TokenStorage;
  onClaimsChanged?: (claims: never, previous: never) => void;
  onSignedOut?: (reason: string) => void;
}

/** Holds a session in step with its storage and with other tabs. */
export function holdSession(
  { name, tabs }: Surroundings,
  { storage, onClaimsChanged, onSignedOut }: HeldSessionOptions,
  onChange: (session: Session) => void,
): HeldSession {
  let known: string | null | undefined;
  let session = newest({ turn: 0, at: 0 }, read());
  let claims = readClaims(session.access);
  const channel = tabs ? openChannel(name, meet) : undefined;

  /** @returns whether it made a difference */
  function meet(other: Session): boolean {
    const [previous, former] = [session, claims];
    // Nothing is written over what another tab has written meanwhile.
    session = newest(newest(previous, read()), other);
    write();
    if (session === previous) return false;
    onChange(session);
    const { access, out } = session;
    if (access !== previous.access) claims = readClaims(access);
    // A listener that throws is the application's mistake, and no reason to fail a request.
    try {
      if (out && !previous.out) onSignedOut?.(out);
      if (contentOf(claims) !== contentOf(former))
        onClaimsChanged?.(claims as never, former as never);
    } catch (error) {
      console.error(error);
    }
    return true;
  }

  // --- the storage, which may be full, forbidden, or hold anything ----------------------------

  /** `undefined`: nothing that is not known. */
  function read(): Session | undefined {
    try {
      const text = storage?.().getItem(name);
      if (!text || text === known) return undefined;
      known = text;
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }

  function write(): void {
    const text = JSON.stringify(session);
    if (text === known) return;
    try {
      storage?.().setItem(name, text);
      known = text;
    } catch {
      // It goes on in memory.
    }
  }

  // --- what happens to it ---------------------------------------------------------------------

  const sync = () => {
    meet(session);
    return session;
  };
  const change = (next: Session) => {
    if (meet(next)) channel?.postMessage(session);
  };
  const begin = (next: Arrival) => change({ ...next, turn: sync().turn + 1 });

  return {
    sync,
    claims: () => sync() && claims,
    change,
    begin,
    adopt({ turn }, tokens, isAsked) {
      const { sid, jti } = readClaims(tokens.access) ?? {};
      const held = sync();
      const continues = sid && jti && [sid, ''].includes(sidOf(held));
      // Of a former turn, it comes to nothing.
      if (continues && (held.access || isAsked)) change({ ...tokens, turn });
    },
    signIn(next) {
      const { turn, ...held } = sync();
      const sid = sidOf(next);
      if (sid && sid === sidOf(held)) change({ ...next, turn });
      else begin(next);
    },
    end(refused, out) {
      const held = sync();
      if (isSame(held, refused) && !held.out) begin({ at: 0, out });
    },
    close: () => channel?.close(),
  };
}

function openChannel(name: string, onSession: (other: Session) => void) {
  const channel = new BroadcastChannel(name);
  unref(channel);
  channel.onmessage = (message: unknown) => onSession((message as { data: Session }).data);
  return channel;
}

/** What the application cares about: each reissue has new ids and times, and an order of its own. */
function contentOf(claims: Partial<TokenClaims> | undefined): string | undefined {
  const content = { ...claims, jti: 0, iat: 0, exp: 0, seen: 0 };
  return claims && JSON.stringify(Object.entries(content).sort());
}
