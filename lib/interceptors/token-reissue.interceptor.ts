import {
  type CallHandler,
  type ExecutionContext,
  Injectable,
  Logger,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { ModuleRef, Reflector } from '@nestjs/core';
import { lastValueFrom, type Observable, of } from 'rxjs';
import { writeChallenge } from '../delivery/challenge.js';
import { CredentialReader } from '../delivery/credential-reader.js';
import type { AnyRequest, AnyResponse } from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import { answerTo } from '../guards/answer-to.js';
import { isActing, type RequestToken, requestToken } from '../guards/request-token.js';
import { JwtStateError, TokenMissingError, WrongContextError } from '../jwt-state.errors.js';
import {
  type ChangeScope,
  CommitProtocol,
  type PendingCommit,
} from '../reissue/commit-protocol.js';
import { runInHandlerScope } from '../reissue/handler-scope.js';
import { bodyOf, sendsItself } from './answer.js';

export const REISSUES_TOKEN = Symbol.for('nestjs-jwt-state:reissues-token');

/** Requests whose handler is inside the protocol already: it may be bound more than once. */
const running = new WeakSet<object>();

/**
 * Runs a `@ReissuesToken()` handler inside the commit protocol. The decorator puts it in front of
 * the interceptors of the controller and the method; a transaction that a *global* interceptor
 * opens would still be uncommitted when the truth is read.
 *
 * @publicApi
 */
@Injectable()
export class TokenReissueInterceptor implements NestInterceptor {
  private readonly logger = new Logger('JwtStateModule');
  private found: Parts | undefined;

  /** Its parts are looked for when a request needs them: controllers can be tested without the module. */
  constructor(
    private readonly reflector: Reflector,
    private readonly module: ModuleRef,
  ) {}

  /** Other handlers of the controller pass through here as well, so theirs is the short way. */
  intercept(
    context: ExecutionContext,
    next: CallHandler,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    const scope = this.reflector.get<ChangeScope>(REISSUES_TOKEN, context.getHandler());
    if (scope === undefined) return next.handle();
    return this.runProtocol(scope, context, next).catch((thrown: unknown) => {
      if (!(thrown instanceof JwtStateError)) throw thrown;
      const error = answerTo(thrown, context.getArgByIndex<AnyRequest>(0));
      // Before an exception filter of the application answers it in its own way.
      writeChallenge(context.getArgByIndex<AnyResponse>(1), error);
      throw error;
    });
  }

  private async runProtocol(
    scope: ChangeScope,
    context: ExecutionContext,
    next: CallHandler,
  ): Promise<Observable<unknown>> {
    const http = context.switchToHttp();
    const request = http.getRequest<AnyRequest>();
    if (running.has(request)) return next.handle();
    const token = requestToken(request);
    if (token && isActing(token)) return next.handle();
    const { protocol, delivery, credentials } = this.parts;
    if (!token) throw notSeen(credentials.read(request) !== undefined);
    running.add(request);
    const commit = await protocol.begin(token, scope);
    const answer = await this.run(commit, next);
    await commit.close();
    const response = http.getResponse<AnyResponse>();
    const canCarry = !sendsItself(context) && delivery.canCarry(response, bodyOf(context, answer));
    await this.replaceToken(commit, token, response, canCarry);
    return of(answer);
  }

  private get parts(): Parts {
    this.found ??= partsIn(this.module);
    return this.found;
  }

  private async run(commit: PendingCommit, next: CallHandler): Promise<unknown> {
    try {
      return await runInHandlerScope(commit.handler, () =>
        lastValueFrom(next.handle(), { defaultValue: undefined }),
      );
    } catch (error) {
      // It may have changed something before it failed. If the mark is not confirmed either, its
      // deadline stands in for it.
      await commit.abandon().catch((cause) => this.warn('The final mark was not confirmed', cause));
      throw error;
    }
  }

  private async replaceToken(
    commit: PendingCommit,
    token: RequestToken,
    response: AnyResponse,
    canCarry: boolean,
  ): Promise<void> {
    if (!canCarry) {
      this.logger.warn(
        'The answer of a @ReissuesToken() handler cannot carry a token; the next request delivers it.',
      );
      // The old token is stale, which is enough. A successor that nobody gets would end it.
      if (!commit.hasChanges) return;
    }
    try {
      const issued = await commit.replace();
      if (issued && canCarry) this.parts.delivery.stage(response, issued, token.origin);
    } catch (error) {
      // The old token is stale, so the next request repairs this; but it knows no explicit changes.
      if (commit.hasChanges) throw error;
      this.warn('The token was not replaced in this response', error);
    }
  }

  private warn(what: string, cause: unknown): void {
    const why = cause instanceof JwtStateError ? cause.code : 'unexpected error';
    this.logger.warn(`${what} (${why}).`);
  }
}

interface Parts {
  readonly protocol: CommitProtocol;
  readonly delivery: TokenDelivery;
  readonly credentials: CredentialReader;
}

/** @throws WrongContextError */
function partsIn(module: ModuleRef): Parts {
  const find = <T>(type: Type<T>) => module.get(type, { strict: false });
  try {
    return {
      protocol: find(CommitProtocol),
      delivery: find(TokenDelivery),
      credentials: find(CredentialReader),
    };
  } catch {
    throw new WrongContextError(
      '@ReissuesToken() needs JwtStateModule in the application. In a test without it, actAs() of ' +
        'nestjs-jwt-state/testing stands in for it.',
    );
  }
}

/** Another guard has let the request in, and JwtStateGuard was not asked. */
function notSeen(hasToken: boolean): JwtStateError {
  if (!hasToken) return new TokenMissingError();
  return new WrongContextError(
    '@ReissuesToken() needs JwtStateGuard to have seen the request: bind it to the route, or let the ' +
      'guard of the route ask it.',
  );
}
