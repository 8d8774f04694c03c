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
import type { DenyListStore, Entry, Standing } from './deny-list.store.js';
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
import { formatSuperseded, parseTokenRecord, type Records, type TokenRecord } from './records.js';
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
/** The store may be replaced while marks are read; this often it is told anew. */
const ANNOUNCE_ATTEMPTS = 3;
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
  private announceAgainAt = Number.NEGATIVE_INFINITY;
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
    if (!this.witness.isAnnounced) return this.lookInStore(token);
    const plan = this.planOf(token);
    const readAt = this.clock.now();
    const { near, version } = this.store;
    const quiet = plan.recall(version);
    if (quiet) return this.lookOf(token, plan, quiet, readAt);
    if (!near) return this.readAll(token, 'access', plan, readAt);
    const known = near.recall(plan.keys);
    return known
      ? this.trustIfActive(token, plan, known, readAt, version)
      : near.complete(plan.keys).then((values) => this.trustIfActive(token, plan, values, readAt));
  }

  private lookOf(
    token: VerifiedToken,
    plan: LookPlan,
    records: Records,
    readAt: number,
    now = readAt,
  ): Answer<Look> {
    const look = this.judged(token, plan, records, undefined, readAt, now);
    return look.verdict.state === 'active' ? look : this.lookInStore(token);
  }

  private trustIfActive(
    token: VerifiedToken,
    plan: LookPlan,
    values: readonly (string | undefined)[],
    readAt: number,
    version?: number,
  ): Answer<Look> {
    const records = this.parse(plan, values);
    if (!this.isComplete(token, records)) return this.lookInStore(token);
    plan.remember(records, version);
    return this.lookOf(token, plan, records, readAt, this.clock.now());
  }

  /**
   * The same from the store itself: for whoever issues, replaces or refuses. More than one round
   * trip only to make good what is missing: the witness of a store that is empty or another one, the
   * `jti` beside a `next`.
   */
  lookInStore(token: VerifiedToken, kind: TokenKind = 'access'): Answer<Look> {
    if (this.witness.isAnnounced) return this.readAll(token, kind);
    // Tokens that are accepted here must be denied for as long as they live, whoever denies them.
    return this.announceIfPossible().then(() => this.readAll(token, kind));
  }

  /** Who may only read accepts tokens all the same: others have announced them, as a rule. */
  private async announceIfPossible(): Promise<void> {
    if (this.clock.now() < this.announceAgainAt) return;
    await this.witness.announce().catch(() => {
      this.announceAgainAt = this.clock.now() + RETRY_AFTER_MS;
    });
  }

  private readAll(
    token: VerifiedToken,
    kind: TokenKind,
    plan = this.planOf(token),
    readAt = this.clock.now(),
  ): Answer<Look> {
    const values = this.store.read(plan.keys);
    if (isLater(values)) {
      return values.then((read) =>
        this.settle(token, kind, plan, this.parse(plan, read), readAt, this.clock.now()),
      );
    }
    const records = this.parse(plan, values);
    if (this.isComplete(token, records)) plan.remember(records, this.store.version);
    return this.settle(token, kind, plan, records, readAt, readAt);
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
    now: number,
  ): Answer<Look> {
    return this.isComplete(token, records)
      ? this.judged(token, plan, records, undefined, readAt, now)
      : this.askFurther(token, kind, plan, records, readAt);
  }

  private isComplete(token: VerifiedToken, { epoch, next, token: record }: Records): boolean {
    if (epoch === undefined || next !== undefined || this.isLoss(epoch, token)) return false;
    return !isMissingNext(record, this.clock.now() - this.nextLifetime);
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
    // Not where it was read: a store that is emptied meanwhile would seem to have lost just this one.
    const oldest = this.clock.now() - this.nextLifetime;
    if (records.next === undefined && isMissingNext(records.token, oldest)) {
      // Two slots of a cluster are not read at one moment: it may have been written in between.
      records = { ...records, ...(await this.readNext(token)) };
    }
    if (records.next === undefined) return this.judged(token, plan, records, undefined, readAt);
    let successor = await this.successors.decode(token, records.next, this.clock.now());
    if (successor && !records.token) {
      if (kind === 'access') successor = { ...successor, at: this.graceStart(successor.at) };
      await this.writeTokenRecord(token, successor).catch(() => {});
    }
    return this.judged(token, plan, records, successor, readAt);
  }

  private async readNext({ jti }: VerifiedToken): Promise<Pick<Records, 'next'>> {
    const [next] = await this.store.read([this.keys.next(jti)]);
    return { next };
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
    now = this.clock.now(),
  ): Look {
    const { marks } = records;
    return {
      verdict: judge(token, records, successor, now, this.settings.onLoss),
      snapshot: { epoch: records.epoch as string, scopes, marks, readAt },
    };
  }

  /** Whether the session of this token may still have tokens, by the store itself. */
  async isSessionAlive(token: VerifiedToken): Promise<boolean> {
    const { verdict } = await this.lookInStore(token);
    return verdict.state !== 'revoked' && verdict.state !== 'lost';
  }

  /**
   * The marks of some scopes, before the claims are read that a token will be made from.
   *
   * Whoever issues announces himself before he reads: a revocation that he does not see is kept long
   * enough then, since it comes later.
   */
  async readMarks(scopes: readonly Scope[]): Promise<MarkSnapshot> {
    for (let attempt = 0; attempt < ANNOUNCE_ATTEMPTS; attempt++) {
      if (!this.witness.isAnnounced) await this.witness.announce();
      const readAt = this.clock.now();
      const plan = new MarkPlan(scopes, this.keys);
      const values = await this.store.read(plan.keys);
      const epoch = await this.witness.settle(values.at(-1));
      // Not if the store was replaced in between: then that one has to be told first.
      if (this.witness.isAnnounced) {
        return { epoch, scopes, marks: plan.marksIn(values), readAt };
      }
    }
    throw new DenyListUnavailableError('The deny list is being replaced again and again.');
  }

  /** Marks by which a token can be issued: read again where nothing was announced before they were. */
  async forIssuing(snapshot: MarkSnapshot): Promise<MarkSnapshot> {
    return this.witness.isAnnounced ? snapshot : this.readMarks(snapshot.scopes);
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
    const [standing, before] = await this.writeSuccession(token, record, kind);
    if (standing !== undefined) {
      const winner = await this.successors.decode(token, standing, this.clock.now());
      if (!winner) throw new TokenSupersededError();
      return winner.claims;
    }
    if (before === undefined) return undefined;
    const earlier = parseTokenRecord(before);
    if (earlier.revoked) throw new TokenRevokedError();
    if (earlier.successor === successor.jti) return undefined;
    // Replaced so long ago that `next` has gone: later than anybody was allowed to take.
    throw new TokenSupersededError();
  }

  /** `next`, and then `jti`, the record that outlives it. Answers what stands there already. */
  private async writeSuccession(
    token: VerifiedToken,
    record: Successor,
    kind: TokenKind,
  ): Promise<readonly [Standing, Standing]> {
    const next: Entry = {
      key: this.keys.next(token.jti),
      value: this.successors.encode(token, record),
      // A lost response must not end a session: a refresh token leads on for as long as it lives.
      ttl: kind === 'refresh' ? this.tokenLifetime(token) : this.nextLifetime,
    };
    const { store } = this;
    if (store.writeBothIfAbsent) {
      return store.writeBothIfAbsent(next, this.tokenRecord(token, record));
    }
    const standing = await store.writeIfAbsent(next.key, next.value, next.ttl);
    if (standing !== undefined) return [standing, undefined];
    const before = await this.writeTokenRecord(token, record).catch(() =>
      this.completeLater(token, record),
    );
    return [undefined, before];
  }

  private tokenRecord(token: VerifiedToken, { at, claims }: Successor): Entry {
    return {
      key: this.keys.jti(token.jti),
      value: formatSuperseded(at, claims.jti),
      ttl: this.tokenLifetime(token),
    };
  }

  private writeTokenRecord(token: VerifiedToken, record: Successor): Promise<Standing> {
    const { key, value, ttl } = this.tokenRecord(token, record);
    return this.store.writeIfAbsent(key, value, ttl);
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
   * Writes for as long as this process knows that it must, then asks the store for how long that is,
   * and writes once more if that is longer. In this order: who announces himself after the question
   * finds the mark when he reads.
   */
  private async keepLongEnough<T>(write: (ttl: number, before?: T) => Promise<T>): Promise<T> {
    // A mark that stands must not be shortened by one that knows less.
    if (!this.witness.isFresh) await this.witness.read();
    const assumed = this.witness.keepFor;
    const writing = write(assumed);
    const [written, keepFor] = this.store.isOrdered
      ? await Promise.all([writing, this.witness.read()])
      : [await writing, await this.witness.read()];
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

/** A token that is superseded by a record young enough for its `next` to stand. */
function isMissingNext(record: TokenRecord | undefined, oldest: number): boolean {
  return record !== undefined && !record.revoked && record.at > oldest;
}

export function missingScopes(wanted: readonly Scope[], known: readonly Scope[]): Scope[] {
  return wanted.filter((scope) => !known.some((other) => sameScope(other, scope)));
}
