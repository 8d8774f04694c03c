import { type Answer, isLater } from '../answer.js';
import { CLOCK_SKEW_MS, type Clock } from '../clock.js';
import type { RevokeReason } from '../events/events.js';
import type { EventSink } from '../events/token-events.js';
import {
  DenyListUnavailableError,
  TokenRevokedError,
  TokenSupersededError,
} from '../jwt-state.errors.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { DenyListKeys } from './deny-list.keys.js';
import type { DenyListStore } from './deny-list.store.js';
import { LookPlan, MarkPlan } from './look-plan.js';
import {
  formatRevokedOthers,
  formatStaleMark,
  isRevokedBy,
  type Mark,
  type MarkSnapshot,
  newMarkId,
  type PendingChange,
  parseRevokedOthers,
  parseStaleMark,
  pendingAfter,
} from './marks.js';
import { formatSuperseded, parseTokenRecord, type Records } from './records.js';
import { claimScopes, type Scope, sameScope, scopesOf } from './scopes.js';
import type { Successor, SuccessorCodec } from './successor.js';
import { judge, type Verdict } from './verdict.js';
import { Witness } from './witness.js';

/** What one look at the store says of a token, and the marks it was said by. */
export interface Look {
  readonly verdict: Verdict;
  readonly snapshot: MarkSnapshot;
}

/** A refresh token is replaced at every use, and its successor stays findable while it lives. */
export type TokenKind = 'access' | 'refresh';

export interface DenyListSettings {
  readonly onLoss: 'reject' | 'reissue' | 'accept';
  readonly claims: readonly string[];
  /** All in milliseconds. */
  readonly longestLifetime: number;
  readonly clockTolerance: number;
  readonly gracePeriod: number;
  /** The longest that anybody may take to replace a token. */
  readonly reissueTimeout: number;
}

/**
 * On top of every lifetime: the skew twice, since issuer, writer and the reader that finds an entry
 * expired may be three hosts; and a second for `exp` in whole seconds.
 */
export const MARGIN_MS = 2 * CLOCK_SKEW_MS + 1_000;
/** A mark is exchanged against the one that stands there; this often it may have moved on. */
const EXCHANGE_ATTEMPTS = 100;
/** A record that the store did not confirm is tried again after so long. */
const RETRY_AFTER_MS = 1_000;

/**
 * The deny list: its records, their lifetimes, and what they say about a token. It knows nothing
 * of HTTP, of signatures, or of who asks.
 */
export class DenyList {
  private readonly witness: Witness;
  /** Longer than the grace period: a reissue that takes its time must still find the tip. */
  private readonly nextLifetime: number;
  private isClosed = false;
  private readonly plans = new WeakMap<VerifiedToken, LookPlan>();

  constructor(
    private readonly store: DenyListStore,
    private readonly keys: DenyListKeys,
    private readonly successors: SuccessorCodec,
    private readonly clock: Clock,
    private readonly events: EventSink,
    private readonly settings: DenyListSettings,
  ) {
    const keepFor = settings.longestLifetime + settings.clockTolerance + MARGIN_MS;
    this.witness = new Witness(store, keys.witness, clock, keepFor);
    this.nextLifetime = settings.reissueTimeout + settings.gracePeriod + MARGIN_MS;
  }

  /** Ends what goes on behind the responses; the application shuts down. */
  close(): void {
    this.isClosed = true;
  }

  scopesOf(token: VerifiedToken): Scope[] {
    return scopesOf(token, this.settings.claims);
  }

  /** The scopes a token of this subject would have, as far as they are known beforehand. */
  scopesAtLogin(sub: string, claims: Record<string, unknown> | undefined): Scope[] {
    return [{ name: 'sub', value: sub }, ...claimScopes(claims ?? {}, this.settings.claims)];
  }

  /** Whether a revocation just made ends this token, too. */
  isEndedBy(token: VerifiedToken, mark: Mark): boolean {
    const isInScope = this.scopesOf(token).some((scope) => sameScope(scope, mark.scope));
    return isInScope && isRevokedBy(token, mark);
  }

  /** @param at when the token was superseded */
  isInGrace(at: number): boolean {
    return this.clock.now() < at + this.settings.gracePeriod;
  }

  // --- reading -------------------------------------------------------------------------------

  /**
   * Everything about a token, in one round trip, or in none where a near copy knows it. What a near
   * copy says lets a request run; whatever has other consequences is asked of the store itself.
   */
  look(token: VerifiedToken): Answer<Look> {
    const { near } = this.store;
    if (!near) return this.lookInStore(token);
    const plan = this.planOf(token);
    const readAt = this.clock.now();
    const known = near.recall(plan.keys);
    return known
      ? this.trustIfActive(token, plan, known, readAt)
      : near.complete(plan.keys).then((values) => this.trustIfActive(token, plan, values, readAt));
  }

  private trustIfActive(
    token: VerifiedToken,
    plan: LookPlan,
    values: readonly (string | undefined)[],
    readAt: number,
  ): Answer<Look> {
    const records = this.parse(plan, values);
    if (this.isComplete(token, records)) {
      const look = this.judged(token, plan, records, undefined, readAt);
      if (look.verdict.state === 'active') return look;
    }
    return this.lookInStore(token);
  }

  /**
   * The same from the store itself: for whoever issues, replaces or refuses. More than one round
   * trip only to make good what is missing: the witness of a store that is empty or another one, the
   * `jti` beside a `next`.
   */
  lookInStore(token: VerifiedToken, kind: TokenKind = 'access'): Answer<Look> {
    const plan = this.planOf(token);
    const readAt = this.clock.now();
    const values = this.store.read(plan.keys);
    return isLater(values)
      ? values.then((read) => this.settle(token, kind, plan, this.parse(plan, read), readAt))
      : this.settle(token, kind, plan, this.parse(plan, values), readAt);
  }

  /** What to read of a token never changes. */
  private planOf(token: VerifiedToken): LookPlan {
    const known = this.plans.get(token);
    if (known) return known;
    const plan = new LookPlan(token, this.scopesOf(token), this.keys);
    this.plans.set(token, plan);
    return plan;
  }

  private settle(
    token: VerifiedToken,
    kind: TokenKind,
    plan: LookPlan,
    records: Records,
    readAt: number,
  ): Answer<Look> {
    return this.isComplete(token, records)
      ? this.judged(token, plan, records, undefined, readAt)
      : this.askFurther(token, kind, plan, records, readAt);
  }

  private isComplete(token: VerifiedToken, { epoch, next }: Records): boolean {
    return epoch !== undefined && next === undefined && !this.isLoss(epoch, token);
  }

  private async askFurther(
    token: VerifiedToken,
    kind: TokenKind,
    plan: LookPlan,
    first: Records,
    readAt: number,
  ): Promise<Look> {
    let records = first;
    if (records.epoch === undefined || this.isLoss(records.epoch, token)) {
      // A lost store has consequences: ask it twice, and let it begin anew if it is empty.
      records = this.parse(plan, await this.store.read(plan.keys));
      const epoch = records.epoch ?? (await this.witness.settle(undefined));
      records = { ...records, epoch };
      if (this.isLoss(epoch, token)) this.announceLoss(token);
    }
    if (records.next === undefined) return this.judged(token, plan, records, undefined, readAt);
    let successor = await this.successors.decode(token, records.next, this.clock.now());
    if (successor && !records.token) {
      if (kind === 'access') successor = { ...successor, at: this.graceStart(successor.at) };
      await this.writeTokenRecord(token, successor).catch(() => {});
    }
    return this.judged(token, plan, records, successor, readAt);
  }

  private parse(plan: LookPlan, values: readonly (string | undefined)[]): Records {
    return plan.parse(values, this.witness);
  }

  private judged(
    token: VerifiedToken,
    { scopes }: LookPlan,
    records: Records,
    successor: Successor | undefined,
    readAt: number,
  ): Look {
    const { marks } = records;
    return {
      verdict: judge(token, records, successor, this.clock.now(), this.settings.onLoss),
      snapshot: { epoch: records.epoch as string, scopes, marks, readAt },
    };
  }

  /** Whether the session of this token may still have tokens, by the store itself. */
  async isSessionAlive(token: VerifiedToken): Promise<boolean> {
    const { verdict } = await this.lookInStore(token);
    return verdict.state !== 'revoked' && verdict.state !== 'lost';
  }

  /** The marks of some scopes, before the claims are read that a token will be made from. */
  async readMarks(scopes: readonly Scope[]): Promise<MarkSnapshot> {
    const readAt = this.clock.now();
    const plan = new MarkPlan(scopes, this.keys);
    const values = await this.store.read(plan.keys);
    const epoch = await this.witness.settle(values.at(-1));
    return { epoch, scopes, marks: plan.marksIn(values), readAt };
  }

  /** A snapshot with further scopes read into it. @throws DenyListUnavailableError if the store is another by now */
  async extend(snapshot: MarkSnapshot, scopes: readonly Scope[]): Promise<MarkSnapshot> {
    const added = await this.readMarks(scopes);
    if (added.epoch !== snapshot.epoch) {
      throw new DenyListUnavailableError('The deny list was replaced while a token was made.');
    }
    return {
      ...snapshot,
      scopes: [...snapshot.scopes, ...scopes],
      marks: [...snapshot.marks, ...added.marks],
    };
  }

  private isLoss(epoch: string, token: VerifiedToken): boolean {
    const isOwn = token.seen.origin === undefined;
    return isOwn && this.settings.onLoss !== 'accept' && epoch !== token.seen.epoch;
  }

  private announceLoss({ sub, sid, jti }: VerifiedToken): void {
    const policy = this.settings.onLoss === 'reissue' ? 'reissue' : 'reject';
    this.events.emit('store-lost', { sub, sid, jti, policy });
  }

  /** Before a token is signed that names this epoch: marks are kept long enough for it. */
  prepareToIssue(epoch: string): Promise<void> {
    return this.witness.announce(epoch);
  }

  // --- superseding ---------------------------------------------------------------------------

  /**
   * Makes `successor` what this token leads to, unless it leads to another already: then that one
   * is the answer.
   */
  async supersede(
    token: VerifiedToken,
    successor: VerifiedToken,
    kind: TokenKind = 'access',
  ): Promise<VerifiedToken | undefined> {
    const record: Successor = { at: this.clock.now(), claims: successor };
    const standing = await this.store.writeIfAbsent(
      this.keys.next(token.jti),
      this.successors.encode(token, record),
      // A lost response must not end a session: a refresh token leads on for as long as it lives.
      kind === 'refresh' ? this.tokenLifetime(token) : this.nextLifetime,
    );
    if (standing !== undefined) {
      const winner = await this.successors.decode(token, standing, this.clock.now());
      if (!winner) throw new TokenSupersededError();
      return winner.claims;
    }
    const earlier = await this.writeTokenRecord(token, record).catch(() =>
      this.completeLater(token, record),
    );
    if (earlier === undefined) return undefined;
    if (earlier.revoked) throw new TokenRevokedError();
    if (earlier.successor === successor.jti) return undefined;
    // Replaced so long ago that `next` has gone: later than anybody was allowed to take.
    throw new TokenSupersededError();
  }

  /** `jti`, the record that outlives `next`. Answers the one that stands there already. */
  private async writeTokenRecord(token: VerifiedToken, { at, claims }: Successor) {
    const standing = await this.store.writeIfAbsent(
      this.keys.jti(token.jti),
      formatSuperseded(at, claims.jti),
      this.tokenLifetime(token),
    );
    return standing === undefined ? undefined : parseTokenRecord(standing);
  }

  /**
   * `next` is what counts for now, so the client gets its token though `jti` was not confirmed. But
   * `next` ends, and the old token would be valid again: this goes on trying until then.
   */
  private completeLater(token: VerifiedToken, record: Successor): undefined {
    const end = record.at + this.nextLifetime;
    const again = () => {
      if (this.isClosed || this.clock.now() >= end) return;
      this.writeTokenRecord(token, record).catch(() => this.completeLater(token, record));
    };
    setTimeout(again, RETRY_AFTER_MS).unref();
  }

  /**
   * Whoever meets `next` without `jti` completes it. Where the grace period is over by then, that
   * `next` was, as a rule, written late, after its writer had been told that it failed: nobody has
   * the successor yet, and the period begins now. That happens once, and `next` bounds it.
   */
  private graceStart(at: number): number {
    return this.isInGrace(at) ? at : this.clock.now();
  }

  // --- marking -------------------------------------------------------------------------------

  async revokeSession(sid: string, why: RevokeReason): Promise<void> {
    await this.writeMark(this.keys.sid(sid), '1');
    this.events.emit('revoked', { scope: { name: 'sid', value: sid }, why });
  }

  /** Every token of the scope that exists now; a log-in after this is not affected. */
  async revokeScope(scope: Scope): Promise<Mark> {
    const mark = { kind: 'revoked', scope, id: newMarkId(this.clock.now()) } as const;
    await this.writeMark(this.keys.revoked(scope), mark.id);
    this.events.emit('revoked', { scope, why: 'request' });
    return mark;
  }

  /** Every token of the subject, save those of one session. */
  async revokeOthers(sub: string, except: string | undefined): Promise<Mark> {
    const value = formatRevokedOthers(newMarkId(this.clock.now()), except);
    await this.writeMark(this.keys.revokedOthers(sub), value);
    const scope = { name: 'sub', value: sub };
    const exception = except === undefined ? {} : { except };
    this.events.emit('revoked', { scope, ...exception, why: 'request' });
    return parseRevokedOthers(scope, value);
  }

  private writeMark(key: string, value: string): Promise<void> {
    return this.keepLongEnough((ttl) => this.store.write(key, value, ttl));
  }

  /**
   * Writes for as long as this process knows that it must, while it asks the store for how long that
   * is, and once more if that is longer: a round trip saved, since it hardly ever is.
   */
  private async keepLongEnough<T>(write: (ttl: number, before?: T) => Promise<T>): Promise<T> {
    const assumed = this.witness.keepFor;
    const [written, keepFor] = await Promise.all([write(assumed), this.witness.read()]);
    return keepFor > assumed ? write(keepFor, written) : written;
  }

  /**
   * The state behind every token of the scope has changed, or (`opens`) may change from now on.
   * Answers the mark as it was written, for the next change of the same owner to start from.
   */
  async markStale(scope: Scope, change: PendingChange = {}, known?: string): Promise<string> {
    const mark = await this.keepLongEnough<string>((ttl, before = known) =>
      this.exchangeMark(scope, change, before, ttl),
    );
    this.events.emit('marked-stale', { scope, pending: change.opens !== undefined });
    return mark;
  }

  private async exchangeMark(
    scope: Scope,
    change: PendingChange,
    known: string | undefined,
    ttl: number,
  ): Promise<string> {
    const key = this.keys.stale(scope);
    const isPlain = change.opens === undefined && change.closes === undefined;
    let expected = known;
    for (let attempt = 0; attempt < EXCHANGE_ATTEMPTS; attempt++) {
      const before = expected === undefined ? undefined : parseStaleMark(scope, expected).pending;
      const pending = pendingAfter(before, change, this.clock.now());
      const value = formatStaleMark(newMarkId(this.clock.now()), pending);
      const result = await this.store.writeIfUnchanged(key, expected, value, ttl);
      if (result.written) return value;
      // This mark was written after this call began, so it says what this call was to say.
      if (isPlain && attempt > 0 && result.current !== undefined) return result.current;
      expected = result.current;
    }
    throw new DenyListUnavailableError('Too many changes to one state at once.');
  }

  private tokenLifetime(token: VerifiedToken): number {
    const end = token.exp * 1000 + this.settings.clockTolerance + MARGIN_MS;
    return Math.max(1, Math.ceil(end - this.clock.now()));
  }
}

export function missingScopes(wanted: readonly Scope[], known: readonly Scope[]): Scope[] {
  return wanted.filter((scope) => !known.some((other) => sameScope(other, scope)));
}
