import { AsyncLocalStorage } from 'node:async_hooks';
import { IssuedToken } from '../token/issued-token.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';

/**
 * What a `@ReissuesToken()` handler asked for while it ran: claims to lay over the truth. Nothing
 * of it happens before the handler has succeeded.
 */
export class HandlerScope {
  private staged: Claims | undefined;
  private ended = false;
  private readonly handedOut: IssuedToken[] = [];

  constructor(private readonly sid: string) {}

  get changes(): Claims | undefined {
    return this.staged;
  }

  /** Whether a reissue of this token belongs to the handler at work. */
  covers(token: VerifiedToken): boolean {
    return !this.ended && token.sid === this.sid;
  }

  /** The returned token is empty until the handler has succeeded. */
  stage(changes: Claims | undefined): IssuedToken {
    this.staged = { ...this.staged, ...changes };
    const promised = new IssuedToken();
    this.handedOut.push(promised);
    return promised;
  }

  /** What it left running behind it is on its own from here on. */
  end(): void {
    this.ended = true;
  }

  settle(issued: IssuedToken): void {
    for (const promised of this.handedOut) promised.settle(issued);
  }
}

const scopes = new AsyncLocalStorage<HandlerScope>();

/** Runs a handler so that {@link currentHandlerScope} finds its scope, however deep it calls. */
export function runInHandlerScope<T>(scope: HandlerScope, handler: () => T): T {
  return scopes.run(scope, handler);
}

export function currentHandlerScope(): HandlerScope | undefined {
  return scopes.getStore();
}
