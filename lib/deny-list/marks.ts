import { v7 as uuidv7 } from 'uuid';
import { CLOCK_SKEW_MS } from '../clock.js';
import type { Seen, VerifiedToken } from '../token/verified-token.js';
import { type Scope, sameScope } from './scopes.js';

/*
 * A mark says that something has happened to a scope. It carries an opaque id, new at each change:
 * a token knows of the change or it does not. Times would have to be compared across hosts, and
 * lose a change made within the clock skew; an id cannot be late. Only a token that this module did
 * not make, and that has seen nothing, is judged by the time in the id.
 */

export interface Mark {
  readonly kind: 'stale' | 'revoked' | 'revoked-others';
  readonly scope: Scope;
  readonly id: string;
  /** `stale` only: handlers that are changing this state, by owner, with their deadline in ms. */
  readonly pending?: ReadonlyMap<string, number>;
  /** `revoked-others` only: the session that stays. */
  readonly except?: string;
}

/** A UUIDv7 in 22 characters. */
export function newMarkId(now: number): string {
  return Buffer.from(uuidv7({ msecs: now }, new Uint8Array(16))).toString('base64url');
}

/** When a mark was set, by its writer's clock, in ms. */
function timeOf({ id }: Mark): number {
  const bytes = Buffer.from(id, 'base64url');
  return bytes.length < 6 ? Number.POSITIVE_INFINITY : bytes.readUIntBE(0, 6);
}

// --- what a mark does to a token -------------------------------------------------------------

/** A mark affects a token that has not seen it, and that it does not except. */
export function isRevokedBy(token: VerifiedToken, mark: Mark): boolean {
  if (mark.kind === 'stale') return false;
  if (mark.except === token.sid) return false;
  return !knows(token, mark, token.seen.revoked);
}

export function isMadeStaleBy(token: VerifiedToken, mark: Mark): boolean {
  return mark.kind === 'stale' && !knows(token, mark, token.seen.stale);
}

/** A token of another issuer can name no marks; it knows of those that lie well before its `iat`. */
function knows(token: VerifiedToken, mark: Mark, seen: readonly string[] | undefined): boolean {
  if (token.seen.origin === undefined) return seen?.includes(mark.id) ?? false;
  return token.iat * 1000 > timeOf(mark) + CLOCK_SKEW_MS;
}

/** A provisional token ends with its own deadline, whether or not the handler came back. */
export function isPastItsDeadline(token: VerifiedToken, now: number): boolean {
  return token.seen.until !== undefined && now >= token.seen.until;
}

// --- what a token remembers of them ----------------------------------------------------------

/** The marks of some scopes, read from the store before the claims source was asked. */
export interface MarkSnapshot {
  readonly epoch: string;
  readonly scopes: readonly Scope[];
  readonly marks: readonly Mark[];
  /** When reading began, in ms: `iat` and `exp` count from here. */
  readonly readAt: number;
}

/**
 * `seen` of a new token. Stale marks are recorded per token. Revocation marks belong to the
 * session: those of its start are kept, and one that came later is never recorded, so that a
 * reissue in flight cannot revive what was revoked meanwhile. Where a scope is new to the session
 * (a log-in, another tenant), what is present now is its start.
 */
export function seenBy(
  snapshot: MarkSnapshot,
  scopes: readonly Scope[],
  before?: SeenBefore,
): Seen {
  const relevant = snapshot.marks.filter((mark) => scopes.some((s) => sameScope(s, mark.scope)));
  const stale = relevant.filter((mark) => mark.kind === 'stale');
  const revoked = relevant.filter(
    (mark) =>
      mark.kind !== 'stale' &&
      (before?.revoked.includes(mark.id) || !before?.scopes.some((s) => sameScope(s, mark.scope))),
  );
  const until = earliestDeadline(stale, snapshot.readAt);
  return {
    epoch: snapshot.epoch,
    ...(stale.length > 0 && { stale: stale.map((mark) => mark.id) }),
    ...(revoked.length > 0 && { revoked: revoked.map((mark) => mark.id) }),
    ...(until !== undefined && { until }),
  };
}

interface SeenBefore {
  readonly revoked: readonly string[];
  readonly scopes: readonly Scope[];
}

function earliestDeadline(marks: readonly Mark[], now: number): number | undefined {
  const ahead = marks.flatMap((mark) => [...(mark.pending?.values() ?? [])].filter((t) => t > now));
  return ahead.length > 0 ? Math.min(...ahead) : undefined;
}

// --- how they are written --------------------------------------------------------------------

/** `<id>`, then ` <owner>=<deadline>` for each handler that is still at work. */
export function formatStaleMark(id: string, pending: ReadonlyMap<string, number>): string {
  return [id, ...[...pending].map(([owner, until]) => `${owner}=${until}`)].join(' ');
}

/** The stale mark of a scope as it is written, where it is among these. */
export function staleMarkIn(marks: readonly Mark[], scope: Scope): string | undefined {
  const mark = marks.find(({ kind, scope: other }) => kind === 'stale' && sameScope(scope, other));
  return mark && formatStaleMark(mark.id, mark.pending ?? new Map());
}

export function parseStaleMark(scope: Scope, value: string): Mark {
  const [id = '', ...entries] = value.split(' ');
  const pending = new Map<string, number>();
  for (const entry of entries) {
    const [owner = '', until] = entry.split('=');
    if (Number.isSafeInteger(Number(until))) pending.set(owner, Number(until));
  }
  return { kind: 'stale', scope, id, pending };
}

/** `<id>`, then ` <sid>` of the session that is excepted. */
export function formatRevokedOthers(id: string, except: string | undefined): string {
  return except === undefined ? id : `${id} ${except}`;
}

export function parseRevokedOthers(scope: Scope, value: string): Mark {
  const [id = '', ...except] = value.split(' ');
  return {
    kind: 'revoked-others',
    scope,
    id,
    ...(except.length > 0 && { except: except.join(' ') }),
  };
}

/** What a new stale mark says about handlers at work. */
export interface PendingChange {
  /** A handler that is at work until then. */
  readonly opens?: { readonly owner: string; readonly until: number };
  /** A handler that has ended. */
  readonly closes?: string;
}

/**
 * The handlers at work after a change: others' deadlines that lie ahead are kept, or the token
 * issued between their commit and their final mark would lie for as long as it lives.
 */
export function pendingAfter(
  before: ReadonlyMap<string, number> | undefined,
  change: PendingChange,
  now: number,
): Map<string, number> {
  const pending = new Map([...(before ?? [])].filter(([, until]) => until > now));
  if (change.closes !== undefined) pending.delete(change.closes);
  if (change.opens) {
    const { owner, until } = change.opens;
    pending.set(owner, Math.max(until, pending.get(owner) ?? 0));
  }
  return pending;
}
