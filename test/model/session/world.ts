import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSessionCore, type SessionCore } from '../../../lib/core/session-core.js';
import { JwtStateError } from '../../../lib/jwt-state.errors.js';
import { parseHistory } from '../../../lib/session/history.js';
import { parseSessionState, REVOKED_SESSION } from '../../../lib/state/session-state.js';
import type { Step } from '../../../lib/store/state-store.js';
import { timeOfTokenId } from '../../../lib/token/token-id.js';
import { TokenMint } from '../../../lib/token/token-mint.js';
import { checkClaims } from '../../../lib/token/token-rules.js';
import { SESSION_TYPE, SUCCESSOR_TYPE } from '../../../lib/token/token-types.js';
import type { VerifiedToken } from '../../../lib/token/verified-token.js';
import type { Choose } from './choices.js';
import { opened, signer, verifier } from './sealing.js';
import { Stage } from './stage.js';

/** All in ms. */
export const GRACE = 30_000;
export const HANDLER = 60_000;
export const SKEW = 5_000;
const REFRESH = 14 * 86_400_000;

const TENANTS = ['acme', 'globex', 'initech'];

/** What may go wrong in one schedule, how often at most. */
export interface Budget {
  faults: number;
  jumps: number;
  crashes: number;
  drops: number;
  losses: number;
}

export interface Setting {
  /** The clocks of the processes against the world's, in ms. */
  readonly skew: readonly number[];
  readonly arrivesWhenConfirmed: boolean;
  readonly twoHolders: boolean;
  /** How long an access token lives, in ms. */
  readonly access: number;
}

/** A log-in, and the client that holds its tokens. */
export interface Session {
  readonly sid: string;
  readonly sub: string;
  /** Somebody may end it, so that a refusal is no fault. */
  maybe: boolean;
  /** It was ended, and everybody was told so. */
  dead: boolean;
  how?: 'session';
  client: Client;
  /** A second holder, which got an access token of its own by the refresh token. */
  tab?: Client;
}

/** A log-in under way. */
export interface Login {
  /** Its marks were read: a revocation that begins now ends its session, too. */
  hasRead: boolean;
  maybe: boolean;
  dead: boolean;
  /** What it has become. */
  entered?: Session;
}

export interface Client {
  access: VerifiedToken;
  refresh: VerifiedToken;
  /** It takes up no token that it is given. */
  ignoresNews?: boolean;
}

interface TenantRevocation {
  readonly id: string;
  readonly tenant: string;
  readonly hit: readonly string[];
}

/** Processes, store, database and clients; and what was promised to them. */
export class World {
  readonly stage = new Stage();
  readonly sessions = new Map<string, Session>();
  readonly logins = new Set<Login>();
  readonly tokens: VerifiedToken[] = [];
  readonly refreshTokens: VerifiedToken[] = [];
  readonly violations: string[] = [];
  readonly cores: SessionCore[];
  /** The truth, and the newest version whose change was reported as done. */
  version = 0;
  announced = 0;
  assigned: string | undefined;
  isGone = false;
  /** Explicit choices in the order in which they took effect, and the last that was reported, by session. */
  readonly order: unknown[] = [];
  readonly announcedChoice = new Map<string, number>();
  /** Handlers that committed too late for their deadline, and have not ended; marks not yet confirmed. */
  truthUnsure = 0;
  unmarked = 0;
  revokesOpen = 0;
  strayRevoke = false;
  isLost = false;
  readonly place = new Map<string, unknown>();
  readonly tenantRevocations: TenantRevocation[] = [];
  /** By session and generation: the `jti` that was made. */
  private readonly made = new Map<string, string>();
  /** By session: when a generation (a use) was first noted; when it was first presented. */
  readonly arrivals = new Map<string, Map<number, number>>();
  /** The same as the record dates it: a process that is frozen writes it down late. */
  private readonly arrivalsByRecord = new Map<string, Map<number, number>>();
  readonly presented = new Map<string, Map<number, number>>();
  readonly uses = new Map<string, Map<number, number>>();
  readonly presentedRefresh = new Map<string, Map<number, number>>();
  private readonly apart: number;

  constructor(
    readonly setting: Setting,
    readonly choose: Choose,
    readonly budget: Budget,
    trace?: string[],
  ) {
    this.stage.trace = trace;
    this.stage.keepsHistory = budget.losses > 0;
    this.stage.onLanding = (step) => this.note(step);
    const { skew } = setting;
    this.apart = Math.max(SKEW, Math.max(...skew) - Math.min(...skew));
    this.cores = skew.map((_, process) => this.coreOf(process));
  }

  /** A process begins anew: with nothing in its memory. */
  restart(process: number): void {
    this.cores[process] = this.coreOf(process);
  }

  private coreOf(process: number): SessionCore {
    const clock = { now: () => this.stage.now + (this.setting.skew[process] ?? 0) };
    const mint = new TokenMint(signer, clock, {
      issuer: undefined,
      audience: undefined,
      lifetime: this.setting.access,
      inBody: true,
      sessionMaxAge: 365 * 86_400_000,
      refreshTokens: { lifetime: REFRESH, inBody: true, sizeLimit: 1e6 },
      sizeLimit: 1e6,
    });
    const rules = {
      issuer: undefined,
      audience: undefined,
      clockTolerance: SKEW,
      longestLifetime: REFRESH,
      scopeClaims: ['tenant'],
    };
    return createSessionCore({
      store: this.stage.storeOf(process),
      clock,
      monotonic: () => this.stage.now,
      claims: {
        hasSource: true,
        read: (_: string, previous: VerifiedToken | undefined) =>
          this.stage.step(process, 'source', () => this.truthFor(previous)),
      } as never,
      mint,
      signer,
      verifier,
      checkClaims: (claims) => checkClaims(claims, rules, clock.now()),
      events: {
        emit: (name: string, event: { sid: string; jti: string }) => {
          if (name === 'refresh-reuse') this.judgeReuse(event.jti);
        },
      } as never,
      settings: {
        prefix: '',
        onLoss: 'reject',
        scopeClaims: ['tenant'],
        longestLifetime: REFRESH,
        accessTokenLifetime: this.setting.access,
        clockTolerance: SKEW,
        gracePeriod: GRACE,
        handlerTimeout: HANDLER,
        claimsTimeout: 5_000,
        arrivesWhenConfirmed: this.setting.arrivesWhenConfirmed,
        renew: false,
        updates: { timeout: 1e9, pause: async () => {} },
      },
    });
  }

  private truthFor(previous: VerifiedToken | undefined) {
    if (this.isGone) return null;
    const tenant = this.assigned ?? previous?.tenant ?? 'acme';
    const { version } = this;
    return { v: version, tenant, ...(previous?.pref !== undefined && { pref: previous.pref }) };
  }

  bad(promise: number, message: string): void {
    this.violations.push(`(${promise}) ${message}`);
    this.stage.log(`!! (${promise}) ${message}`);
  }

  // --- what is true from the moment on in which a commit lands ---------------------------------------------

  private note({ writes }: Step): void {
    for (const { key, value } of writes) {
      const [kind] = key.split(':');
      if (kind === 's') this.noteSession(key, value);
      if (kind === 't') this.noteTip(value);
      if (kind === 'r') this.noteHistory(key, value);
      if (kind === 'u') this.noteTenant(key, value);
    }
  }

  private sidOf(key: string): string {
    const id = key.slice(2);
    const found = [...this.sessions.keys()].find((sid) => this.keyOf(sid) === `s:${id}`);
    return found ?? id;
  }

  private keyOf(sid: string): string {
    return (this.cores[0] as SessionCore).keys.session(sid);
  }

  private noteSession(key: string, value: string): void {
    const sid = this.sidOf(key);
    const session = this.sessions.get(sid);
    if (this.stage.get(key) === undefined) this.beginAnew(sid);
    if (value === REVOKED_SESSION) {
      if (session) session.maybe = session.dead = true;
      return;
    }
    if (session?.dead && session.how === 'session' && !this.isLost) {
      this.bad(2, `the record of revoked ${sid.slice(-4)} was replaced`);
    }
    const arrivals = mapIn(this.arrivals, sid);
    const dated = mapIn(this.arrivalsByRecord, sid);
    for (const { n, at, arrived } of parseSessionState(value).generations) {
      if (!arrived || arrivals.has(n)) continue;
      arrivals.set(n, this.stage.now);
      dated.set(n, at);
    }
  }

  /** A record that has come to its end, with every token it spoke of: its counting begins anew. */
  private beginAnew(sid: string): void {
    for (const id of [...this.made.keys()]) if (id.startsWith(sid)) this.made.delete(id);
    this.arrivals.delete(sid);
    this.arrivalsByRecord.delete(sid);
  }

  private noteTip(value: string): void {
    const { claims } = opened(value, SUCCESSOR_TYPE) as { claims: VerifiedToken };
    const id = `${claims.sid}/${claims.seen.gen}`;
    const before = this.made.get(id);
    if (before !== undefined && before !== claims.jti && !this.isLost) {
      this.bad(6, `two successors of one generation: ${claims.seen.gen}`);
    }
    this.made.set(id, claims.jti);
    this.place.set(claims.sid, claims.tenant);
    const { pref } = claims;
    if (pref !== undefined && !this.order.includes(pref)) this.order.push(pref);
    this.tokens.push(claims);
  }

  private noteHistory(key: string, value: string): void {
    const sid = this.sidOf(key.replace(/^r:/, 's:'));
    const { uses, sealedChoices } = parseHistory(value);
    const noted = mapIn(this.uses, sid);
    for (const { n } of uses) if (!noted.has(n)) noted.set(n, this.stage.now);
    if (sealedChoices === undefined) return;
    const { chosen } = opened(sealedChoices, SESSION_TYPE) as { chosen: Record<string, unknown> };
    if (chosen.tenant !== undefined) this.place.set(sid, chosen.tenant);
  }

  private noteTenant(key: string, value: string): void {
    const { keys } = this.cores[0] as SessionCore;
    const tenant = TENANTS.find((name) => keys.scope({ name: 'tenant', value: name }) === key);
    const id = /(?:^| )R(\S+)/.exec(value)?.[1];
    if (tenant === undefined || id === undefined) return;
    if (this.tenantRevocations.some((other) => other.id === id)) return;
    const hit = [...this.sessions.keys()].filter((sid) => this.place.get(sid) === tenant);
    this.tenantRevocations.push({ id, tenant, hit });
  }

  // --- what was promised -----------------------------------------------------------------------------------

  /** What had ended when something began. */
  floorOf(sid: string) {
    return {
      version: this.announced,
      choice: this.announcedChoice.get(sid) ?? -1,
      isDead: this.sessions.get(sid)?.dead ?? false,
    };
  }

  judgeRun(token: VerifiedToken, floor: ReturnType<World['floorOf']>, who: string): void {
    if (this.isLost) return;
    if ((token.v as number) < floor.version) {
      this.bad(1, `${who} runs with v${token.v}, v${floor.version} was finished`);
    }
    if (floor.choice >= 0 && this.order.indexOf(token.pref) < floor.choice) {
      this.bad(
        1,
        `${who} runs with ${token.pref}, ${this.order[floor.choice]} was answered as done`,
      );
    }
    if (floor.isDead) this.bad(2, `${who} runs, though its session was revoked`);
  }

  /** Requests with a refresh token that have not been answered: the token, and when they began. */
  readonly openRefreshes = new Set<{ readonly jti: string; readonly began: number }>();

  /** Reuse, and nothing else, ends a session for reuse. */
  private judgeReuse(jti: string): void {
    if (this.isLost) return;
    const presented = this.refreshTokens.find((token) => token.jti === jti);
    if (!presented) return;
    const next = (presented.seen.gen ?? 0) + 1;
    // Its successor was used, by somebody who holds it, and that long ago.
    const used = this.uses.get(presented.sid)?.get(next + 1);
    const isHeld = this.presentedRefresh.get(presented.sid)?.has(next) ?? false;
    if (!isHeld || used === undefined || this.stage.now + this.apart < used + GRACE) {
      this.bad(4, `ended for reuse of r${next - 1}, whose successor was not used, or just now`);
      return;
    }
    const begun = [...this.openRefreshes].filter((one) => one.jti === jti).map((one) => one.began);
    if (Math.max(...begun) + this.apart < used + GRACE) {
      this.bad(4, `a request with r${next - 1} that was frozen was taken for reuse`);
    }
  }

  judgeLate(token: VerifiedToken, began: number, who: string): void {
    const late = firstLater(this.arrivals, token);
    if (late === undefined || this.isLost || token.iat * 1000 > late + this.apart) return;
    if (began > late + GRACE + this.apart)
      this.bad(6, `${who} runs after the grace period of gen ${genOf(token)}`);
  }

  judgeLateRefresh(
    token: VerifiedToken,
    used: number | undefined,
    began: number,
    who: string,
  ): void {
    if (used === undefined || this.isLost || began <= used + GRACE + this.apart) return;
    this.bad(
      4,
      `${who}: r${genOf(token)} leads on after its successor was used and its grace is over`,
    );
  }

  /** A refusal that nobody had a reason for. */
  judgeRefusal(
    session: Session,
    token: VerifiedToken,
    error: JwtStateError,
    who: string,
    holder: Client,
  ): void {
    const { code } = error;
    if (error.getStatus() === 503 || code === 'TOKEN_EXPIRED') return;
    if (code === 'TOKEN_SUPERSEDED' && this.isExcused(session, token, holder, who)) return;
    if (this.mayBeRefused(session, token)) return;
    this.bad(3, `${who} is logged out: ${code} for gen ${genOf(token)}`);
  }

  private isExcused(session: Session, token: VerifiedToken, holder: Client, who: string): boolean {
    const arrived = this.setting.arrivesWhenConfirmed
      ? firstLater(this.arrivalsByRecord, token)
      : undefined;
    if (holder.access !== token && isNewer(holder.access, token)) {
      // It has a newer one. But within its grace period the older one should have run.
      const used = firstLater(this.presented, token);
      const begun = Math.min(arrived ?? Infinity, used ?? Infinity);
      if (!this.isLost && this.stage.now + this.apart < begun + GRACE) {
        this.bad(3, `${who} refused in its grace period`);
      }
      return true;
    }
    // Two hold one session and do not share what they get: one that is overtaken by the other is out.
    if (session.client.ignoresNews || this.setting.twoHolders) return true;
    // A confirmed replacement whose response got lost: the client had the grace period to come back.
    if (arrived !== undefined && this.stage.now + this.apart >= arrived + GRACE) return true;
    // A second holder of an access token came by it through the refresh token, and goes on with that.
    return session.tab !== undefined;
  }

  mayBeRefused(session: Session, token: VerifiedToken): boolean {
    if (session.maybe || this.isGone || this.isLost) return true;
    return this.tenantRevocations.some(
      ({ tenant, hit }) =>
        hit.includes(session.sid) ||
        this.place.get(session.sid) === tenant ||
        token.tenant === tenant ||
        session.client.access.tenant === tenant,
    );
  }

  // --- clients ---------------------------------------------------------------------------------------------

  take(client: Client, token: VerifiedToken): void {
    if (!client.ignoresNews && isNewer(token, client.access)) client.access = token;
  }

  takeRefresh(client: Client, token: VerifiedToken): void {
    if (client.ignoresNews) return;
    const [held, given] = [genOf(client.refresh), genOf(token)];
    if (given > held || (given === held && isNewer(token, client.refresh))) client.refresh = token;
  }

  isResponseLost(who: string): boolean {
    if (this.budget.drops <= 0 || this.choose(2, 0.15) === 0) return false;
    this.budget.drops -= 1;
    this.stage.log(`${who}: the response gets lost`);
    return true;
  }

  present(map: Map<string, Map<number, number>>, token: VerifiedToken): void {
    const times = mapIn(map, token.sid);
    if (!times.has(genOf(token))) times.set(genOf(token), this.stage.now);
  }

  // --- running ---------------------------------------------------------------------------------------------

  /** Lets everything run that waits for nobody. */
  async settle(): Promise<void> {
    await nextTurn();
  }

  /** To its end, with nothing in between and without faults. */
  async alone<T>(task: Promise<T>): Promise<T> {
    let isDone = false;
    const finished = task.finally(() => {
      isDone = true;
    });
    finished.catch(() => {});
    for (let steps = 0; ; steps++) {
      await this.settle();
      if (isDone) return finished;
      if (steps > 500) throw new Error('it does not end');
      if (this.stage.waiting.length > 0) this.stage.perform(0, false, () => 0, 0);
    }
  }
}

export function genOf({ seen }: VerifiedToken): number {
  return seen.gen ?? 0;
}

/** As the client tells it: by the ms in the `jti`. */
export function isNewer(one: VerifiedToken, other: VerifiedToken): boolean {
  return (timeOfTokenId(one.jti) ?? 0) > (timeOfTokenId(other.jti) ?? 0);
}

/** When a later generation than the token's was first noted. */
export function firstLater(
  map: Map<string, Map<number, number>>,
  token: VerifiedToken,
): number | undefined {
  const times = [...(map.get(token.sid) ?? [])]
    .filter(([n]) => n > genOf(token))
    .map(([, at]) => at);
  return times.length > 0 ? Math.min(...times) : undefined;
}

export function mapIn<K>(maps: Map<K, Map<number, number>>, key: K): Map<number, number> {
  const known = maps.get(key) ?? new Map<number, number>();
  maps.set(key, known);
  return known;
}

export function isRefusal(error: unknown): error is JwtStateError {
  return error instanceof JwtStateError;
}
