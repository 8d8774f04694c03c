import { type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { PUBLIC } from '../decorators/public.decorator.js';
import { writeChallenge } from '../delivery/challenge.js';
import { CredentialReader } from '../delivery/credential-reader.js';
import type { AnyRequest, AnyResponse } from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import {
  JwtStateError,
  TokenInvalidError,
  TokenMissingError,
  WrongContextError,
} from '../jwt-state.errors.js';
import { RefreshCredentials } from '../refresh/refresh-credentials.js';
import { type StalePolicy, TokenResolver } from '../reissue/token-resolver.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { AcceptsRefreshToken } from './accepts-refresh-token.js';
import { JwtStateStrategy } from './jwt-state.strategy.js';
import { LeavesReissuing } from './leaves-reissuing.js';

import { requestToken, setRequestToken } from './request-token.js';

/**
 * Lets a request run with the claims that are true now, or not at all.
 *
 * passport checks signature and claims, then the deny list is asked in one round trip. A stale
 * token is replaced on the way, and the response carries the new one. `request.user` holds the
 * effective claims.
 *
 * @example
 * ```ts
 * @UseGuards(JwtStateGuard)
 * @Get('me')
 * me(@CurrentToken() token: VerifiedToken) {
 *   return token;
 * }
 * ```
 * @throws JwtStateError with one of its codes; 401 carries `WWW-Authenticate`, 503 `Retry-After`
 *
 * @publicApi
 */
@Injectable()
export class JwtStateGuard extends AuthGuard() {
  constructor(
    private readonly reflector: Reflector,
    strategy: JwtStateStrategy,
    private readonly credentials: CredentialReader,
    private readonly resolver: TokenResolver,
    private readonly delivery: TokenDelivery,
    private readonly refreshCredentials: RefreshCredentials,
  ) {
    super({ defaultStrategy: strategy.name });
    // The base class lets PassportModule's options be injected over its own; an application's
    // `defaultStrategy` must not become the one that guards here.
    const options = { defaultStrategy: strategy.name };
    Object.defineProperty(this, 'options', { get: () => options, set: () => {} });
  }

  override async canActivate(context: ExecutionContext): Promise<boolean> {
    if (context.getType() !== 'http') {
      throw new WrongContextError(
        `JwtStateGuard guards HTTP routes; this is ${context.getType()}. Use TokenService.verify() there.`,
      );
    }
    const targets = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<boolean>(PUBLIC, targets)) return true;
    const request: AnyRequest = this.getRequest(context);
    const response = context.switchToHttp().getResponse<AnyResponse>();
    if (this.isRefresh(context, request)) return true;
    // Bound globally and to the route: once is enough.
    if (requestToken(request)?.resolver === this.resolver) return true;
    try {
      await super.canActivate(context);
      await this.admit(context, request, response);
      return true;
    } catch (error) {
      request.user = undefined;
      writeChallenge(response, error);
      throw error;
    }
  }

  /** passport's outcome in this module's terms; `user` is what the strategy's `validate` gave. */
  override handleRequest<T>(error: unknown, user: T | false, info: unknown): T {
    if (error) throw error;
    if (user) return user;
    // passport-jwt takes whatever keeps it from finding a key for a reason to refuse the token.
    if (info instanceof JwtStateError) throw info;
    const isMissing = info instanceof Error && info.message === 'No auth token';
    throw isMissing
      ? new TokenMissingError()
      : new TokenInvalidError('its signature does not match');
  }

  private async admit(context: ExecutionContext, request: AnyRequest, response: AnyResponse) {
    const presented = request.user as VerifiedToken;
    const token = await this.resolver.resolve(presented, this.onStale(context, response));
    const origin = this.credentials.read(request)?.origin ?? 'header';
    if (token.issued) this.delivery.stage(response, token.issued, origin);
    setRequestToken(request, { ...token, origin, resolver: this.resolver });
    request.user = token.current;
  }

  /** A refresh token stands for itself; the access token beside it has expired, as a rule. */
  private isRefresh(context: ExecutionContext, request: AnyRequest): boolean {
    const isRoute = this.reflector.get<boolean>(AcceptsRefreshToken.KEY, context.getHandler());
    if (isRoute !== true) return false;
    const { refreshCredentials } = this;
    return !refreshCredentials.takesAccessTokens || refreshCredentials.read(request) !== undefined;
  }

  private onStale(context: ExecutionContext, response: AnyResponse): StalePolicy {
    if (this.reflector.get<boolean>(LeavesReissuing.KEY, context.getHandler())) return 'leave';
    // Not for a response that nobody waits for any more, nor for one that may have no body where
    // only a body could carry the token.
    return this.delivery.canCarry(response, undefined) ? 'reissue' : 'leave';
  }
}
