import { CLOCK_SKEW_MS, type Clock } from '../clock.js';
import type { RevokeReason } from '../events/events.js';
import type { EventSink } from '../events/token-events.js';
import {
  DenyListUnavailableError,
  TokenRevokedError,
  TokenSupersededError,
} from '../jwt-state.errors.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { mayHaveHappened } from './bounded.store.js';
import type { DenyListKeys, TokenKind } from './deny-list.keys.js';
import type { DenyListStore, Entry, Standing } from './deny-list.store.js';
import type { Look } from './look.js';
import { LookPlan, MarkPlan } from './look-plan.js';
import { MarkWriter } from './mark-writer.js';
import {
  formatRevokedOthers,
  isRevokedBy,
  type Mark,
  type MarkSnapshot,
  newMarkId,
  type PendingChange,
  parseRevokedOthers,
} from './marks.js';
import {
  formatSuperseded,
  formatSupersededAtOnce,
  parseTokenRecord,
  type Records,
  type TokenRecord,
} from './records.js';
import { claimScopes, type Scope, sameScope, scopesOf } from './scopes.js';
import type { Successor, SuccessorCodec } from './successor.js';
import { judge } from './verdict.js';
import { Withdrawals } from './withdrawals.js';
import { Witness } from './witness.js';

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
const MARGIN_MS = 2 * CLOCK_SKEW_MS + 1_000;
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
  private readonly marks: MarkWriter;
  private readonly withdrawals: Withdrawals;
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
    this.marks = new MarkWriter(store, this.witness, clock);
    this.withdrawals = new Withdrawals(async (...entry) => store.removeIfUnchanged?.(...entry));
    this.nextLifetime = settings.reissueTimeout + settings.gracePeriod + MARGIN_MS;
  }

  /** Ends what goes on behind the responses; the application shuts down. */
  close(): void {
    this.isClosed = true;
    this.withdrawals.close();
  }

  /** How long a record about tokens of any service must be kept, as the last look has said, in ms. */
  get keepFor(): number {
    return this.witness.keepFor;
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
   * What this process can say of a token without asking anybody, and it says one thing only: that the
   * token is active. `undefined`: {@link look}.
   *
   * So does nearly every request, which is why there is no promise here, and nothing new where the
   * store had nothing to say of this token and has not changed since.
   */
  recall(token: VerifiedToken): Look | undefined {
    if (!this.witness.isAnnounced) return undefined;
    const plan = this.planOf(token);
    const { near, version } = this.store;
    const quiet = plan.recall(version);
    if (quiet || !near) return quiet;
    const values = near.recall(plan.keys);
    return values && this.activeBy(token, plan, values, version);
  }

  /**
   * Everything about a token, in one round trip, or in none where a near copy knows it. What a near
   * copy says lets a request run; whatever has other consequences is asked of the store itself.
   */
  async look(token: VerifiedToken): Promise<Look> {
    const known = this.recall(token);
    if (known) return known;
    const { near } = this.store;
    if (!near || !this.witness.isAnnounced) return this.lookInStore(token);
    const plan = this.planOf(token);
    const readAt = this.clock.now();
    const values = await near.complete(plan.keys);
    return this.activeBy(token, plan, values, undefined, readAt) ?? this.lookInStore(token);
  }

  /** @param version of the store these values were recalled from; none where they were asked for */
  private activeBy(
    token: VerifiedToken,
    plan: LookPlan,
    values: readonly (string | undefined)[],
    version: number | undefined,
    readAt = this.clock.now(),
  ): Look | undefined {
    const records = plan.parse(values, this.witness);
    if (!this.isComplete(token, records)) return undefined;
    const look = this.judged(token, plan, records, undefined, readAt);
    if (look.verdict.state !== 'active') return undefined;
    if (version !== undefined && isQuiet(token, records)) plan.remember(look, version);
    return look;
  }

  /**
   * The same from the store itself: for whoever issues, replaces or refuses. More than one round
   * trip only to make good what is missing: the witness of a store that is empty or another one, the
   * `jti` beside a `next`.
   */
  async lookInStore(token: VerifiedToken, kind: TokenKind = 'access'): Promise<Look> {
    // Tokens that are accepted here must be denied for as long as they live, whoever denies them.
    if (!this.witness.isAnnounced) await this.announceIfPossible();
    const plan = this.planOf(token, kind);
    const readAt = this.clock.now();
    const records = plan.parse(await this.store.read(plan.keys), this.witness);
    return this.isComplete(token, records)
      ? this.judged(token, plan, records, undefined, readAt)
      : this.askFurther(token, plan, records, readAt);
  }

  /** Who may only read accepts tokens all the same: others have announced them, as a rule. */
  private async announceIfPossible(): Promise<void> {
    const wait = this.announceAgainAt - this.clock.now();
    // Longer than ever set: the clock was put back, and must not keep the announcement back.
    if (wait > 0 && wait <= RETRY_AFTER_MS) return;
    await this.witness.announce().catch(() => {
      this.announceAgainAt = this.clock.now() + RETRY_AFTER_MS;
    });
  }

  /** What to read of a token never changes. */
  private planOf(token: VerifiedToken, kind: TokenKind = 'access'): LookPlan {
    const known = this.plans.get(token);
    if (known?.kind === kind) return known;
    const plan = new LookPlan(token, kind, this.scopesOf(token), this.keys);
    this.plans.set(token, plan);
    return plan;
  }

  private isComplete(token: VerifiedToken, { epoch, next, token: record }: Records): boolean {
    if (epoch === undefined || next !== undefined || this.isLoss(epoch, token)) return false;
    return !isMissingNext(record, this.clock.now() - this.nextLifetime);
  }

  private async askFurther(
    token: VerifiedToken,
    plan: LookPlan,
    first: Records,
    readAt: number,
  ): Promise<Look> {
    let records = first;
    if (records.epoch === undefined || this.isLoss(records.epoch, token)) {
      // A lost store has consequences: ask it twice, and let it begin anew if it is empty.
      records = plan.parse(await this.store.read(plan.keys), this.witness);
      const epoch = records.epoch ?? (await this.witness.settle(undefined));
      records = { ...records, epoch };
      if (this.isLoss(epoch, token)) this.announceLoss(token);
    }
    // Not where it was read: a store that is emptied meanwhile would seem to have lost just this one.
    const oldest = this.clock.now() - this.nextLifetime;
    if (records.next === undefined && isMissingNext(records.token, oldest)) {
      // Two slots of a cluster are not read at one moment: it may have been written in between.
      records = { ...records, ...(await this.readNext(token, plan.kind)) };
    }
    if (records.next === undefined) return this.judged(token, plan, records, undefined, readAt);
    let successor = await this.successors.decode(token, records.next, this.clock.now());
    if (successor && !records.token) {
      if (plan.kind === 'access') successor = { ...successor, at: this.graceStart(successor.at) };
      await this.writeTokenRecord(token, successor, plan.kind).catch(() => {});
    }
    return this.judged(token, plan, records, successor, readAt);
  }

  private async readNext({ jti }: VerifiedToken, kind: TokenKind): Promise<Pick<Records, 'next'>> {
    const [next] = await this.store.read([this.keys.next(jti, kind)]);
    return { next };
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

  /**
   * Marks by which a token can be issued: read again where nothing was announced before they were.
   *
   * @throws DenyListUnavailableError if the store is another by now
   */
  async forIssuing(snapshot: MarkSnapshot): Promise<MarkSnapshot> {
    if (this.witness.isAnnounced) return snapshot;
    return this.readMarksOf(snapshot, snapshot.scopes);
  }

  /** A snapshot with further scopes read into it. @throws DenyListUnavailableError if the store is another by now */
  async extend(snapshot: MarkSnapshot, scopes: readonly Scope[]): Promise<MarkSnapshot> {
    const added = await this.readMarksOf(snapshot, scopes);
    return {
      ...snapshot,
      scopes: [...snapshot.scopes, ...scopes],
      marks: [...snapshot.marks, ...added.marks],
    };
  }

  /** From the store that a snapshot is of: by that one the predecessor was judged. */
  private async readMarksOf({ epoch }: MarkSnapshot, scopes: readonly Scope[]) {
    const read = await this.readMarks(scopes);
    if (read.epoch === epoch) return read;
    throw new DenyListUnavailableError('The deny list was replaced while a token was made.');
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

  /**
   * This refresh token was used, so it has arrived: whoever comes late with the one before it is not led to
   * it any more. That is noted in the record `jti` of that one, which takes a fraction of `next`, and `next`
   * ends as an access token's does. Nobody waits for it; where it fails, or the store cannot do it in one
   * step, `next` stays as long as `jti`.
   */
  conclude({ jti: used, seen: { prev } }: VerifiedToken): void {
    if (prev === undefined) return;
    const [jti, next] = [this.keys.jti(prev, 'refresh'), this.keys.next(prev, 'refresh')];
    this.store.conclude?.(jti, used, next, this.nextLifetime).catch(() => {});
  }

  /** `next`, and then `jti`, the record that outlives it. Answers what stands there already. */
  private async writeSuccession(
    token: VerifiedToken,
    record: Successor,
    kind: TokenKind,
  ): Promise<readonly [Standing, Standing]> {
    const next: Entry = {
      key: this.keys.next(token.jti, kind),
      value: this.successors.encode(token, record),
      // A lost response must not end a session: a refresh token leads on for as long as it lives.
      ttl: kind === 'refresh' ? this.tokenLifetime(token) : this.nextLifetime,
    };
    if (this.store.writeBothIfAbsent) return this.writeBoth(token, record, next, kind);
    const standing = await this.store.writeIfAbsent(next.key, next.value, next.ttl);
    if (standing !== undefined) return [standing, undefined];
    const before = await this.writeTokenRecord(token, record, kind).catch(() =>
      this.completeLater(token, record, kind),
    );
    return [undefined, before];
  }

  /**
   * Both in one step. Where that is not confirmed, it may have happened, or happen yet, and the client
   * is told to keep its token: so `jti` is taken back. Then `next` stands alone, as it does where the
   * two are written one by one, and whoever comes first has the grace period before him.
   *
   * A refresh token is led to its successor without one.
   */
  private async writeBoth(
    token: VerifiedToken,
    record: Successor,
    next: Entry,
    kind: TokenKind,
  ): Promise<readonly [Standing, Standing]> {
    const { at, claims } = record;
    const value = formatSupersededAtOnce(at, claims.jti);
    const jti = { ...this.tokenRecord(token, record, kind), value };
    try {
      return await (this.store as Required<DenyListStore>).writeBothIfAbsent(next, jti);
    } catch (error) {
      if (kind === 'access' && mayHaveHappened(error)) this.withdrawals.begin(jti);
      throw error;
    }
  }

  private tokenRecord(token: VerifiedToken, { at, claims }: Successor, kind: TokenKind): Entry {
    return {
      key: this.keys.jti(token.jti, kind),
      value: formatSuperseded(at, claims.jti),
      ttl: this.tokenLifetime(token),
    };
  }

  private writeTokenRecord(
    token: VerifiedToken,
    record: Successor,
    kind: TokenKind,
  ): Promise<Standing> {
    const { key, value, ttl } = this.tokenRecord(token, record, kind);
    return this.store.writeIfAbsent(key, value, ttl);
  }

  /**
   * `next` is what counts for now, so the client gets its token though `jti` was not confirmed. But
   * `next` ends, and the old token would be valid again: this goes on trying until then.
   */
  private completeLater(token: VerifiedToken, record: Successor, kind: TokenKind): undefined {
    const end = record.at + this.nextLifetime;
    const again = () => {
      if (this.isClosed || this.clock.now() >= end) return;
      this.writeTokenRecord(token, record, kind).catch(() =>
        this.completeLater(token, record, kind),
      );
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
    await this.marks.write(this.keys.sid(sid), '1');
    this.events.emit('revoked', { scope: { name: 'sid', value: sid }, why });
  }

  /** Every token of the scope that exists now; a log-in after this is not affected. */
  async revokeScope(scope: Scope): Promise<Mark> {
    const mark = { kind: 'revoked', scope, id: newMarkId(this.clock.now()) } as const;
    await this.marks.write(this.keys.revoked(scope), mark.id);
    this.events.emit('revoked', { scope, why: 'request' });
    return mark;
  }

  /** Every token of the subject, save those of one session. */
  async revokeOthers(sub: string, except: string | undefined): Promise<Mark> {
    const value = formatRevokedOthers(newMarkId(this.clock.now()), except);
    await this.marks.write(this.keys.revokedOthers(sub), value);
    const scope = { name: 'sub', value: sub };
    const exception = except === undefined ? {} : { except };
    this.events.emit('revoked', { scope, ...exception, why: 'request' });
    return parseRevokedOthers(scope, value);
  }

  /**
   * The state behind every token of the scope has changed, or (`opens`) may change from now on.
   * Answers the mark as it was written, for the next change of the same owner to start from.
   */
  async markStale(scope: Scope, change: PendingChange = {}, known?: string): Promise<string> {
    const mark = await this.marks.exchange(scope, this.keys.stale(scope), change, known);
    this.events.emit('marked-stale', { scope, pending: change.opens !== undefined });
    return mark;
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

/** Nothing stands in the store about this token, and no deadline of its own can make it stale. */
function isQuiet({ seen }: VerifiedToken, records: Records): boolean {
  const { sessionRevoked, token, next, marks } = records;
  const isUnmentioned =
    !sessionRevoked && token === undefined && next === undefined && marks.length === 0;
  return isUnmentioned && seen.until === undefined;
}

export function missingScopes(wanted: readonly Scope[], known: readonly Scope[]): Scope[] {
  return wanted.filter((scope) => !known.some((other) => sameScope(other, scope)));
}
