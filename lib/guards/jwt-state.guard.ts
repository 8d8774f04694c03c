import { type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { writeChallenge } from '../delivery/challenge.js';
import {
  type Credential,
  type CredentialOrigin,
  CredentialReader,
} from '../delivery/credential-reader.js';
import { type AnyRequest, type AnyResponse, forbidStoring } from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import { InvalidRequestError, WrongContextError } from '../jwt-state.errors.js';
import { RefreshCredentials } from '../refresh/refresh-credentials.js';
import { type ResolvedToken, type StalePolicy, TokenResolver } from '../reissue/token-resolver.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { JwtStateStrategy, refusalOf } from './jwt-state.strategy.js';
import { requestToken, setRequestToken } from './request-token.js';
import { type RouteTraits, RouteTraitsReader } from './route-traits.js';

/**
 * Lets a request run with the claims that are true now, or not at all.
 *
 * passport-jwt checks the signature, then the deny list is asked in one round trip. A stale
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
  private plain: boolean | undefined;

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
  }

  /** Whether nobody has changed how passport is used: only then may its machinery be passed by. */
  private get isPlain(): boolean {
    // Not in the constructor: what is a field of a subclass is not there yet.
    this.plain ??=
      this.strategy.constructor === JwtStateStrategy &&
      this.handleRequest === JwtStateGuard.prototype.handleRequest &&
      this.getAuthenticateOptions === JwtStateGuard.prototype.getAuthenticateOptions;
    return this.plain;
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
    if (traits.acceptsRefreshToken) {
      // Here and not in the controller, so that refusals by guards, pipes and filters have it, too.
      forbidStoring(responseOf(context));
      // A refresh token stands for itself; the access token beside it has expired, as a rule.
      if (this.isRefresh(request)) return true;
    }
    // Bound globally and to the route: once is enough.
    if (requestToken(request)?.resolver === this.resolver) return true;
    return this.judge(context, request);
  }

  private judge(context: ExecutionContext, request: AnyRequest): boolean | Promise<boolean> {
    try {
      const credential = this.credentials.read(request);
      if (credential?.rivals) return this.chooseCookie(context, request, credential.rivals);
      const presented = credential && this.isPlain && this.strategy.recall(credential.token);
      if (!presented) return this.authenticate(context, request, credential);
      // What nearly every request is, so nothing of it is made for the garbage collector.
      const token = this.resolver.recall(presented);
      if (token) return this.admit(request, token, credential.origin);
      return this.resolve(context, request, presented, credential.origin);
    } catch (error) {
      return this.refuse(context, request, error);
    }
  }

  /** Once it is chosen, the request is one with that cookie only. */
  private async chooseCookie(
    context: ExecutionContext,
    request: AnyRequest,
    rivals: readonly string[],
  ): Promise<boolean> {
    try {
      await this.credentials.choose(request, rivals);
    } catch (error) {
      if (error instanceof InvalidRequestError) {
        this.delivery.dropFormer(responseOf(context), 'access');
      }
      return this.refuse(context, request, error);
    }
    return this.judge(context, request);
  }

  /** A token's first sight is passport-jwt's. */
  private async authenticate(
    context: ExecutionContext,
    request: AnyRequest,
    credential: Credential | undefined,
  ): Promise<true> {
    let presented: VerifiedToken;
    try {
      presented = await (this.isPlain
        ? this.strategy.check(request)
        : this.throughPassport(context));
    } catch (error) {
      return this.refuse(context, request, error);
    }
    return this.resolve(context, request, presented, credential?.origin ?? 'header');
  }

  /** All of it, where an application has put something of its own into it. */
  private async throughPassport(context: ExecutionContext): Promise<VerifiedToken> {
    await super.canActivate(context);
    return this.getRequest(context).user as VerifiedToken;
  }

  /** The deny list has to be asked, or has something to say. */
  private async resolve(
    context: ExecutionContext,
    request: AnyRequest,
    presented: VerifiedToken,
    origin: CredentialOrigin,
  ): Promise<true> {
    try {
      const response = responseOf(context);
      const onStale = () => this.onStale(this.traits.of(context), response);
      const token = await this.resolver.resolve(presented, onStale);
      if (token.issued) this.delivery.stage(response, token.issued, origin);
      return this.admit(request, token, origin);
    } catch (error) {
      return this.refuse(context, request, error);
    }
  }

  private admit(request: AnyRequest, token: ResolvedToken, origin: CredentialOrigin): true {
    setRequestToken(request, token, origin, this.resolver);
    request.user = token.current;
    return true;
  }

  private refuse(context: ExecutionContext, request: AnyRequest, error: unknown): never {
    request.user = undefined;
    writeChallenge(responseOf(context), error);
    throw error;
  }

  /** Without what `switchToHttp()` makes anew at every call; to be overridden where it is elsewhere. */
  override getRequest(context: ExecutionContext): AnyRequest {
    return context.getArgByIndex(0);
  }

  /** passport's outcome in this module's terms; `user` is what the strategy's `validate` gave. */
  override handleRequest<T>(error: unknown, user: T | false, info: unknown): T {
    if (error) throw error;
    if (user) return user;
    throw refusalOf(info);
  }

  private isRefresh(request: AnyRequest): boolean {
    const { refreshCredentials } = this;
    return !refreshCredentials.takesAccessTokens || refreshCredentials.isPresent(request);
  }

  private onStale({ leavesReissuing }: RouteTraits, response: AnyResponse): StalePolicy {
    // Not for a response that nobody waits for any more, nor for one that may have no body where
    // only a body could carry the token.
    const leaves = leavesReissuing || !this.delivery.canCarry(response, undefined);
    return leaves ? 'leave' : 'reissue';
  }
}

function responseOf(context: ExecutionContext): AnyResponse {
  return context.getArgByIndex(1);
}
