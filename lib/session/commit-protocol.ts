import { CLOCK_SKEW_MS, type Clock } from '../clock.js';
import type { Scope } from '../deny-list/scopes.js';
import { TokenRevokedError } from '../jwt-state.errors.js';
import { HandlerScope } from '../reissue/handler-scope.js';
import type { Look } from '../state/look.js';
import { newMarkId } from '../state/mark-id.js';
import type { MarkWriter } from '../state/mark-writer.js';
import { REVOKED_SESSION } from '../state/session-state.js';
import type { StateKeys } from '../state/state-keys.js';
import type { StateReader } from '../state/state-reader.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { Composer } from './composer.js';
import type { StandingReader } from './standing.js';
import type { ResolvedToken, TokenResolver } from './token-resolver.js';

/** What a `@ReissuesToken()` handler changes: the subject's state, or only this session's. */
export type ChangeScope = 'subject' | 'session';

export interface ProtocolParts {
  readonly marks: MarkWriter;
  readonly reader: StateReader;
  readonly keys: StateKeys;
  readonly standings: StandingReader;
  readonly resolver: TokenResolver;
  readonly composer: Composer;
  readonly clock: Clock;
  /** In ms: how long a handler has until it must have committed. */
  readonly handlerTimeout: number;
  readonly renew: boolean;
}

/** The owner of every deadline whose handler failed. */
const ABANDONED = 'abandoned';

/**
 * The commit protocol around a handler that changes the caller's own state.
 *
 * 1. before: the state is marked stale, *pending* until a deadline, or the handler does not run;
 * 2. the handler runs;
 * 3. after, success or not: a final mark, so that every token made before it is stale;
 * 4. after success: the truth is read and the caller's token replaced.
 *
 * A process that dies after 1 leaves old tokens stale, and tokens that were made meanwhile end with the
 * deadline: a change and the end of the tokens that contradict it do not come apart.
 */
export class CommitProtocol {
  constructor(private readonly parts: ProtocolParts) {}

  /** Step 1. @throws DenyListUnavailableError: nothing has changed, and the handler must not run */
  async begin(token: ResolvedToken, change: ChangeScope): Promise<PendingCommit> {
    const { sid, sub } = token.current;
    const scope: Scope =
      change === 'session' ? { name: 'sid', value: sid } : { name: 'sub', value: sub };
    // Without a claims source there is no fresh truth that others could be sent to: no mark.
    const mark = this.parts.composer.hasSource ? await this.open(scope, token.look) : undefined;
    return new PendingCommit(this.parts, token, scope, mark);
  }

  private async open(scope: Scope, look: Look | undefined): Promise<OpenMark> {
    const { marks, clock, handlerTimeout, keys } = this.parts;
    const owner = newMarkId(clock.now());
    // The skew on top: the deadline is held against other hosts' clocks.
    const until = clock.now() + handlerTimeout + CLOCK_SKEW_MS;
    const expected = look?.value(recordOf(scope, keys));
    const value = await marks.markStale(scope, { opens: { owner, until } }, expected);
    if (value === REVOKED_SESSION) throw new TokenRevokedError();
    return { owner, until, value };
  }
}

interface OpenMark {
  readonly owner: string;
  readonly until: number;
  /** The record as it was written. */
  readonly value: string | undefined;
}

/** A handler between step 1 and step 4. */
export class PendingCommit {
  readonly handler: HandlerScope;
  private ahead: Look | undefined;

  constructor(
    private readonly parts: ProtocolParts,
    private readonly token: ResolvedToken,
    private readonly scope: Scope,
    private readonly mark: OpenMark | undefined,
  ) {
    this.handler = new HandlerScope(token.current.sid);
  }

  /** Until when the handler may begin its work, in ms; later, its deadline no longer covers it. */
  get mustBeginBefore(): number {
    return this.mark?.until ?? Number.POSITIVE_INFINITY;
  }

  /** Claims that only this reissue knows of, and that would be lost without it. */
  get hasChanges(): boolean {
    return this.handler.changes !== undefined;
  }

  /** Step 3. @throws DenyListUnavailableError: the change may have happened; the deadline covers it */
  async close(): Promise<void> {
    this.handler.end();
    if (!this.mark) return;
    const { owner, value } = this.mark;
    const { marks, reader, standings, keys } = this.parts;
    const closed = marks.markStale(this.scope, { closes: owner }, value);
    // For step 4, in the same breath.
    const looked = reader.look(standings.keysForLook(this.token.presented)).catch(() => undefined);
    const final = await closed;
    const look = await looked;
    // It counts if it has seen the final mark; else step 4 looks itself.
    if (look && look.value(recordOf(this.scope, keys)) === final) this.ahead = look;
  }

  /**
   * Step 3, when the handler failed. An error does not prove that it has stopped: a timeout around it
   * leaves it running, and it may commit yet. So its deadline stays, under a name that all failures of a
   * scope share: a client cannot fill the record with them.
   *
   * @throws DenyListUnavailableError
   */
  async abandon(): Promise<void> {
    this.handler.end();
    if (!this.mark) return;
    const { owner, until, value } = this.mark;
    const opens = { owner: ABANDONED, until };
    await this.parts.marks.markStale(this.scope, { closes: owner, opens }, value);
  }

  /** Step 4. `undefined`: there is nothing to reissue. */
  async replace(): Promise<IssuedToken | undefined> {
    const { changes } = this.handler;
    const { composer, resolver, renew } = this.parts;
    const { presented } = this.token;
    if (!composer.hasSource && changes === undefined) return undefined;
    // Its own issuer has to be asked for another one; here it is stale, which is enough.
    if (presented.seen.origin === 'foreign') return undefined;
    const request = { why: 'handler', changes, renew } as const;
    const issued = await resolver.replace(presented, request, this.ahead);
    this.handler.settle(issued);
    return issued;
  }
}

function recordOf(scope: Scope, keys: StateKeys): string {
  return scope.name === 'sid' ? keys.session(scope.value) : keys.scope(scope);
}
