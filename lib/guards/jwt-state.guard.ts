import { type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { type Answer, isLater } from '../answer.js';
import { writeChallenge } from '../delivery/challenge.js';
import {
  type Credential,
  type CredentialOrigin,
  CredentialReader,
} from '../delivery/credential-reader.js';
import type { AnyRequest, AnyResponse } from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import { TokenInvalidError, TokenMissingError, WrongContextError } from '../jwt-state.errors.js';
import { RefreshCredentials } from '../refresh/refresh-credentials.js';
import { type ResolvedToken, type StalePolicy, TokenResolver } from '../reissue/token-resolver.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { JwtStateStrategy, KeyLookupFailure } from './jwt-state.strategy.js';

import { requestToken, setRequestToken } from './request-token.js';
import { type RouteTraits, RouteTraitsReader } from './route-traits.js';

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
  private readonly traits: RouteTraitsReader;
  /** Whether nobody has changed how passport is used: only then may it be passed by. */
  private readonly isPlain: boolean;

  constructor(
    reflector: Reflector,
    private readonly strategy: JwtStateStrategy,
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
    this.traits = new RouteTraitsReader(reflector);
    this.isPlain =
      strategy.constructor === JwtStateStrategy &&
      this.handleRequest === JwtStateGuard.prototype.handleRequest;
  }

  override canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (context.getType() !== 'http') {
      throw new WrongContextError(
        `JwtStateGuard guards HTTP routes; this is ${context.getType()}. Use TokenService.verify() there.`,
      );
    }
    const traits = this.traits.of(context);
    if (traits.isPublic) return true;
    const request: AnyRequest = this.getRequest(context);
    // A refresh token stands for itself; the access token beside it has expired, as a rule.
    if (traits.acceptsRefreshToken && this.isRefresh(request)) return true;
    // Bound globally and to the route: once is enough.
    if (requestToken(request)?.resolver === this.resolver) return true;
    const attempt: Attempt = {
      traits,
      request,
      response: context.switchToHttp().getResponse<AnyResponse>(),
    };
    try {
      const admitted = this.admit(context, attempt);
      return isLater(admitted) ? admitted.catch((error) => this.refuse(attempt, error)) : admitted;
    } catch (error) {
      return this.refuse(attempt, error);
    }
  }

  private refuse({ request, response }: Attempt, error: unknown): never {
    request.user = undefined;
    writeChallenge(response, error);
    throw error;
  }

  private admit(context: ExecutionContext, attempt: Attempt): Answer<true> {
    const credential = this.credentials.read(attempt.request);
    const known = credential && this.isPlain && this.strategy.recall(credential.token);
    return known
      ? this.resolve(known, credential, attempt)
      : this.authenticate(context, credential, attempt);
  }

  /** A token's first sight is passport's. */
  private async authenticate(
    context: ExecutionContext,
    credential: Credential | undefined,
    attempt: Attempt,
  ): Promise<true> {
    await super.canActivate(context);
    return this.resolve(attempt.request.user as VerifiedToken, credential, attempt);
  }

  private resolve(
    presented: VerifiedToken,
    credential: Credential | undefined,
    attempt: Attempt,
  ): Answer<true> {
    const origin = credential?.origin ?? 'header';
    const token = this.resolver.resolveAtOnce(presented, () => this.onStale(attempt));
    return isLater(token)
      ? token.then((resolved) => this.pass(resolved, origin, attempt))
      : this.pass(token, origin, attempt);
  }

  private pass(
    token: ResolvedToken,
    origin: CredentialOrigin,
    { request, response }: Attempt,
  ): true {
    if (token.issued) this.delivery.stage(response, token.issued, origin);
    setRequestToken(request, { ...token, origin, resolver: this.resolver });
    request.user = token.current;
    return true;
  }

  /** passport's outcome in this module's terms; `user` is what the strategy's `validate` gave. */
  override handleRequest<T>(error: unknown, user: T | false, info: unknown): T {
    if (error) throw error;
    if (user) return user;
    // passport-jwt takes whatever keeps it from finding a key for a reason to refuse the token.
    if (info instanceof KeyLookupFailure) throw info.cause;
    const isMissing = info instanceof Error && info.message === 'No auth token';
    throw isMissing
      ? new TokenMissingError()
      : new TokenInvalidError('its signature does not match');
  }

  private isRefresh(request: AnyRequest): boolean {
    const { refreshCredentials } = this;
    return !refreshCredentials.takesAccessTokens || refreshCredentials.isPresent(request);
  }

  private onStale({ traits, response }: Attempt): StalePolicy {
    // Not for a response that nobody waits for any more, nor for one that may have no body where
    // only a body could carry the token.
    const leaves = traits.leavesReissuing || !this.delivery.canCarry(response, undefined);
    return leaves ? 'leave' : 'reissue';
  }
}

/** One request on its way in. */
interface Attempt {
  readonly traits: RouteTraits;
  readonly request: AnyRequest;
  readonly response: AnyResponse;
}
