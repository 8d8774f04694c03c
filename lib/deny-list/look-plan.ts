import type { VerifiedToken } from '../token/verified-token.js';
import type { DenyListKeys, TokenKind } from './deny-list.keys.js';
import type { Look } from './look.js';
import { type Mark, parseRevokedOthers, parseStaleMark } from './marks.js';
import { parseTokenRecord, type Records } from './records.js';
import type { Scope } from './scopes.js';
import type { Witness } from './witness.js';

type MarkRead = readonly [key: string, parse: (value: string) => Mark];

const NO_MARKS: readonly Mark[] = [];

/** The marks of some scopes: which keys to read, and what stands there. The witness comes last. */
export class MarkPlan {
  readonly keys: readonly string[];
  private readonly reads: readonly MarkRead[];

  constructor(
    readonly scopes: readonly Scope[],
    names: DenyListKeys,
  ) {
    this.reads = scopes.flatMap((scope) => markReads(scope, names));
    // Last: a store that loses its entries between two reads is caught by the later one.
    this.keys = [...this.reads.map(([key]) => key), names.witness];
  }

  /** @param offset where the values of this plan begin */
  marksIn(values: readonly (string | undefined)[], offset = 0): readonly Mark[] {
    let marks: Mark[] | undefined;
    for (let index = 0; index < this.reads.length; index++) {
      const value = values[offset + index];
      if (value === undefined) continue;
      marks ??= [];
      marks.push((this.reads[index] as MarkRead)[1](value));
    }
    return marks ?? NO_MARKS;
  }
}

function markReads(scope: Scope, names: DenyListKeys): MarkRead[] {
  const stale: MarkRead = [names.stale(scope), (value) => parseStaleMark(scope, value)];
  if (scope.name === 'sid') return [stale];
  const revoked: MarkRead = [
    names.revoked(scope),
    (id) => ({ kind: 'revoked', scope, id }) as const,
  ];
  if (scope.name !== 'sub') return [stale, revoked];
  const others: MarkRead = [
    names.revokedOthers(scope.value),
    (value) => parseRevokedOthers(scope, value),
  ];
  return [stale, revoked, others];
}

/** Everything about one token, in one round trip. */
export class LookPlan {
  readonly scopes: readonly Scope[];
  readonly keys: readonly string[];
  private readonly marks: MarkPlan;
  private quiet: Look | undefined;
  private quietAt: number | undefined;

  constructor(
    { jti, sid }: VerifiedToken,
    readonly kind: TokenKind,
    scopes: readonly Scope[],
    names: DenyListKeys,
  ) {
    this.scopes = scopes;
    this.marks = new MarkPlan(scopes, names);
    this.keys = [names.next(jti, kind), names.jti(jti, kind), names.sid(sid), ...this.marks.keys];
  }

  /**
   * The look at a token about which the store had nothing to say, if it is still the same store: what
   * is absent can change by a write only. So most requests need not read at all.
   *
   * @param version of the store
   */
  recall(version: number | undefined): Look | undefined {
    return version !== undefined && version === this.quietAt ? this.quiet : undefined;
  }

  remember(quiet: Look, version: number): void {
    this.quiet = quiet;
    this.quietAt = version;
  }

  parse(values: readonly (string | undefined)[], witness: Witness): Records {
    const [next, record, session] = values;
    return {
      epoch: witness.epochIn(values[this.keys.length - 1]),
      sessionRevoked: session !== undefined,
      token: record === undefined ? undefined : parseTokenRecord(record),
      next,
      marks: this.marks.marksIn(values, 3),
    };
  }
}
