import { v7 as uuidv7 } from 'uuid';
import { CLOCK_SKEW_MS, type Clock } from '../clock.js';
import type { DenyList } from '../deny-list/deny-list.js';
import type { Scope } from '../deny-list/scopes.js';
import type { ClaimsReader } from '../token/claims-reader.js';
import type { IssuedToken } from '../token/issued-token.js';
import { HandlerScope } from './handler-scope.js';
import type { Reissuer } from './reissuer.js';
import type { ResolvedToken } from './token-resolver.js';

/** What a `@ReissuesToken()` handler changes: the subject's state, or only this session's. */
export type ChangeScope = 'subject' | 'session';

export interface ProtocolSettings {
  /** Milliseconds a handler has until it must have committed. */
  readonly handlerTimeout: number;
  readonly renew: boolean;
}

/**
 * The commit protocol around a handler that changes the caller's own state.
 *
 * 1. before: the state is marked stale, *pending* until a deadline, or the handler does not run;
 * 2. the handler runs;
 * 3. after, success or not: a final mark, so that every token made before it is stale;
 * 4. after success: the truth is read and the caller's token replaced.
 *
 * If the process dies anywhere after 1, the old tokens are stale already, and tokens that were made
 * meanwhile end with the deadline. A change and the end of the tokens that contradict it do not
 * come apart.
 */
export class CommitProtocol {
  constructor(
    private readonly denyList: DenyList,
    private readonly reissuer: Reissuer,
    private readonly claims: ClaimsReader,
    private readonly clock: Clock,
    private readonly settings: ProtocolSettings,
  ) {}

  /** Step 1. @throws DenyListUnavailableError: nothing has changed, and the handler must not run */
  async begin(token: ResolvedToken, change: ChangeScope): Promise<PendingCommit> {
    const { current } = token;
    const scope: Scope =
      change === 'session'
        ? { name: 'sid', value: current.sid }
        : { name: 'sub', value: current.sub };
    const owner = uuidv7();
    // Without a claims source there is no fresh truth that others could be sent to.
    if (!this.claims.hasSource) return new PendingCommit(this, token, scope, undefined);
    // The skew on top: the deadline is held against other hosts' clocks.
    const until = this.clock.now() + this.settings.handlerTimeout + CLOCK_SKEW_MS;
    const mark = await this.denyList.markStale(scope, { opens: { owner, until } });
    return new PendingCommit(this, token, scope, { owner, until, mark });
  }

  /** @internal Step 3, after success. */
  async close(scope: Scope, { owner, mark }: OpenMark): Promise<void> {
    await this.denyList.markStale(scope, { closes: owner }, mark);
  }

  /**
   * @internal Step 3, after a failure. An error does not prove that the handler has stopped: a
   * timeout around it leaves it running, and it may commit yet. So its deadline stays, under a
   * name that all failures of a scope share, or a client could fill the mark with them.
   */
  async abandon(scope: Scope, { owner, until, mark }: OpenMark): Promise<void> {
    const opens = { owner: ABANDONED, until };
    await this.denyList.markStale(scope, { closes: owner, opens }, mark);
  }

  /** @internal Step 4. */
  async replace(token: ResolvedToken, handler: HandlerScope): Promise<IssuedToken | undefined> {
    const { changes } = handler;
    if (!this.claims.hasSource && changes === undefined) return undefined;
    const request = { changes, renew: this.settings.renew };
    const issued = await this.reissuer.replace(token.tip, request, token.presented);
    handler.settle(issued);
    return issued;
  }
}

/** The owner of every deadline whose handler failed. */
const ABANDONED = 'abandoned';

interface OpenMark {
  readonly owner: string;
  readonly until: number;
  /** As it was written. */
  readonly mark: string;
}

/** A handler between step 1 and step 4. */
export class PendingCommit {
  readonly handler: HandlerScope;

  constructor(
    private readonly protocol: CommitProtocol,
    private readonly token: ResolvedToken,
    private readonly scope: Scope,
    /** Absent without a claims source. */
    private readonly open: OpenMark | undefined,
  ) {
    this.handler = new HandlerScope(token.current.sid);
  }

  /** Claims that only this reissue knows of, and that would be lost without it. */
  get hasChanges(): boolean {
    return this.handler.changes !== undefined;
  }

  /** Step 3. @throws DenyListUnavailableError: the change may have happened; the deadline covers it */
  async close(): Promise<void> {
    this.handler.end();
    if (this.open) await this.protocol.close(this.scope, this.open);
  }

  /** Step 3, when the handler failed, as far as anybody knows. @throws DenyListUnavailableError */
  async abandon(): Promise<void> {
    this.handler.end();
    if (this.open) await this.protocol.abandon(this.scope, this.open);
  }

  /** Step 4. `undefined`: there is nothing to reissue. */
  replace(): Promise<IssuedToken | undefined> {
    return this.protocol.replace(this.token, this.handler);
  }
}
