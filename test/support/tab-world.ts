import { jest } from '@jest/globals';
import { type HeldSession, holdSession } from '../../lib/client/held-session.js';
import { createRefresher, type Refresher } from '../../lib/client/refresher.js';
import { type Session, sidOf } from '../../lib/client/session.js';
import { PageStorage } from './browser-parts.js';
import { encode } from './forge.js';

interface Letter {
  readonly from: WorldChannel;
  readonly to: WorldChannel;
  readonly data: unknown;
}

/** A BroadcastChannel whose messages are under way until the world delivers them. */
class WorldChannel {
  static world: TabWorld;
  onmessage: ((message: { data: unknown }) => void) | undefined;

  constructor() {
    WorldChannel.world.channels.add(this);
  }

  postMessage(data: unknown): void {
    const { channels, letters } = WorldChannel.world;
    for (const to of channels) {
      if (to !== this) letters.push({ from: this, to, data: structuredClone(data) });
    }
  }

  close(): void {
    WorldChannel.world.channels.delete(this);
  }
}

export interface Tab {
  readonly held: HeldSession;
  readonly renew: Refresher;
  readonly channel: WorldChannel;
  readonly signedOut: string[];
  isFrozen: boolean;
}

const REFUSAL = { status: 400, headers: { 'content-type': 'application/json' } };

/**
 * The tabs of one browser, its cookie jar, and a server with a refresh cookie. Messages of one sender to one
 * receiver keep their order, as a browser has it; everything else happens in the order that the test says.
 */
export class TabWorld {
  readonly channels = new Set<WorldChannel>();
  readonly letters: Letter[] = [];
  readonly tabs: Tab[] = [];
  /** The session in the refresh cookie. */
  cookie: string | undefined;
  /** The log-in that was answered, with its cookie, and whose `signIn()` is still to come. */
  pending: { readonly sid: string; readonly tab: Tab } | undefined;
  /** Sign-ins, by their `sid`, and sign-outs. */
  readonly history: string[] = [];
  private readonly answers: (() => void)[] = [];
  private tokens = 0;
  private sessions = 0;
  private readonly original = globalThis.BroadcastChannel;

  constructor(private readonly storage: PageStorage | undefined) {
    WorldChannel.world = this;
    globalThis.BroadcastChannel = WorldChannel as unknown as typeof BroadcastChannel;
  }

  end(): void {
    globalThis.BroadcastChannel = this.original;
  }

  open(index = this.tabs.length): Tab {
    this.tabs[index]?.held.close();
    const before = new Set(this.channels);
    const signedOut: string[] = [];
    const surroundings = { key: 'world', tabs: true, refreshUrl: 'http://x/', locks: undefined };
    const storage = this.storage && (() => this.storage as PageStorage);
    const held = holdSession(
      surroundings,
      { ...(storage && { storage }), onSignedOut: (reason) => signedOut.push(reason) },
      () => {},
    );
    const renew = createRefresher(
      { ...surroundings, fetch: this.fetch } as never,
      { cookie: true },
      {},
      held,
    );
    const [channel] = [...this.channels].filter((one) => !before.has(one));
    const tab = { held, renew, channel: channel as WorldChannel, signedOut, isFrozen: false };
    this.tabs[index] = tab;
    return tab;
  }

  /** The server answers by the cookie that comes with the request; the answer is under way then. */
  private readonly fetch = (): Promise<Response> => {
    const { cookie } = this;
    return new Promise((resolve) => {
      this.answers.push(() =>
        resolve(
          cookie
            ? Response.json({ access_token: this.tokenOf(cookie) })
            : new Response('{"code":"INVALID_REQUEST"}', REFUSAL),
        ),
      );
    });
  };

  tokenOf(sid: string): string {
    this.tokens += 1;
    const jti = String(this.tokens).padStart(6, '0');
    return `e30.${encode(JSON.stringify({ sid, jti, seen: {} }))}.c2ln`;
  }

  // --- what can happen ------------------------------------------------------------------------

  logIn(tab: Tab): void {
    if (this.pending) return;
    this.sessions += 1;
    this.cookie = `session ${String(this.sessions).padStart(4, '0')}`;
    this.pending = { sid: this.cookie, tab };
  }

  signIn(): void {
    const { pending } = this;
    if (!pending) return;
    this.pending = undefined;
    if (!this.tabs.includes(pending.tab)) return;
    this.history.push(pending.sid);
    pending.tab.held.signIn({ access: this.tokenOf(pending.sid), at: Date.now() });
  }

  signOut(tab: Tab): void {
    if (this.pending) return;
    this.cookie = undefined;
    this.history.push('');
    tab.held.signOut();
  }

  answer(choice: number): void {
    this.answers.splice(choice % Math.max(this.answers.length, 1), 1)[0]?.();
  }

  /** To a frozen tab, and to one that is gone, it is lost. */
  deliver(choice: number): void {
    const { letters } = this;
    const chosen = letters[choice % Math.max(letters.length, 1)];
    const first = letters.findIndex(({ from, to }) => from === chosen?.from && to === chosen?.to);
    const [letter] = letters.splice(Math.max(first, 0), 1);
    const tab = this.tabs.find(({ channel }) => channel === letter?.to);
    if (letter && tab && !tab.isFrozen) letter.to.onmessage?.({ data: letter.data });
  }

  wake(tab: Tab): void {
    if (tab.isFrozen) {
      tab.isFrozen = false;
      tab.held.catchUp();
    }
  }

  /** And what follows from it without anything arriving. */
  async pass(milliseconds: number): Promise<void> {
    jest.advanceTimersByTime(milliseconds);
    await new Promise(setImmediate);
  }

  /** Everything that is under way arrives. */
  async settle(): Promise<void> {
    await this.pass(200);
    for (let step = 0; this.answers.length + this.letters.length > 0; step++) {
      if (step > 5_000) throw new Error('The tabs never stop talking.');
      this.answer(0);
      this.deliver(0);
      await this.pass(0);
    }
  }
}

/** Whose session it is, where there is one. */
export function sessionIn({ held }: Tab): string | undefined {
  const session: Session = held.sync();
  return session.out ? undefined : sidOf(session) || undefined;
}
