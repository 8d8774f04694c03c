import { v7 as uuidv7 } from 'uuid';
import { CLOCK_SKEW_MS, type Clock } from '../clock.js';
import type { DenyList } from '../deny-list/deny-list.js';
import type { Look } from '../deny-list/look.js';
import { staleMarkIn } from '../deny-list/marks.js';
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

export interface ProtocolParts {
  readonly denyList: DenyList;
  readonly reissuer: Reissuer;
  readonly claims: ClaimsReader;
  readonly clock: Clock;
  readonly settings: ProtocolSettings;
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
  constructor(private readonly parts: ProtocolParts) {}

  /** Step 1. @throws DenyListUnavailableError: nothing has changed, and the handler must not run */
  async begin(token: ResolvedToken, change: ChangeScope): Promise<PendingCommit> {
    const { sid, sub } = token.current;
    const scope: Scope =
      change === 'session' ? { name: 'sid', value: sid } : { name: 'sub', value: sub };
    // Without a claims source there is no fresh truth that others could be sent to: no mark.
    const known = staleMarkIn(token.marks, scope);
    const mark = this.parts.claims.hasSource ? await this.open(scope, known) : undefined;
    return new PendingCommit(this.parts, token, scope, mark);
  }

  private async open(scope: Scope, known: string | undefined): Promise<OpenMark> {
    const { denyList, clock, settings } = this.parts;
    const owner = uuidv7();
    // The skew on top: the deadline is held against other hosts' clocks.
    const until = clock.now() + settings.handlerTimeout + CLOCK_SKEW_MS;
    const value = await denyList.markStale(scope, { opens: { owner, until } }, known);
    return { owner, until, value };
  }
}

/** The owner of every deadline whose handler failed. */
const ABANDONED = 'abandoned';

interface OpenMark {
  readonly owner: string;
  readonly until: number;
  /** As it was written. */
  readonly value: string;
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

  /** Claims that only this reissue knows of, and that would be lost without it. */
  get hasChanges(): boolean {
    return this.handler.changes !== undefined;
  }

  /** Step 3. @throws DenyListUnavailableError: the change may have happened; the deadline covers it */
  async close(): Promise<void> {
    this.handler.end();
    if (!this.mark) return;
    const { owner, value } = this.mark;
    const { denyList } = this.parts;
    const closed = denyList.markStale(this.scope, { closes: owner }, value);
    // For step 4, in the same breath: stores take what is asked on one connection in order.
    const ahead = Promise.resolve(denyList.lookInStore(this.token.tip)).catch(() => undefined);
    const final = await closed;
    const look = await ahead;
    // It counts if it has seen the final mark; else step 4 looks itself.
    if (look && staleMarkIn(look.snapshot.marks, this.scope) === final) this.ahead = look;
  }

  /**
   * Step 3, when the handler failed. An error does not prove that it has stopped: a timeout around
   * it leaves it running, and it may commit yet. So its deadline stays, under a name that all
   * failures of a scope share, or a client could fill the mark with them.
   *
   * @throws DenyListUnavailableError
   */
  async abandon(): Promise<void> {
    this.handler.end();
    if (!this.mark) return;
    const { owner, until, value } = this.mark;
    const opens = { owner: ABANDONED, until };
    await this.parts.denyList.markStale(this.scope, { closes: owner, opens }, value);
  }

  /** Step 4. `undefined`: there is nothing to reissue. */
  async replace(): Promise<IssuedToken | undefined> {
    const { changes } = this.handler;
    const { claims, reissuer, settings } = this.parts;
    if (!claims.hasSource && changes === undefined) return undefined;
    // Its own issuer has to be asked for another one; here it is stale, which is enough.
    if (this.token.tip.seen.origin === 'foreign') return undefined;
    const request = { why: 'handler', changes, renew: settings.renew } as const;
    const issued = await reissuer.replace(
      this.token.tip,
      request,
      this.token.presented,
      this.ahead,
    );
    this.handler.settle(issued);
    return issued;
  }
}
