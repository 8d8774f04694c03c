import { type ExecutionContext, Injectable, Logger } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { writeChallenge } from '../delivery/challenge.js';
import {
  type Credential,
  type CredentialOrigin,
  CredentialReader,
} from '../delivery/credential-reader.js';
import {
  type AnyRequest,
  type AnyResponse,
  forbidStoring,
  isHttpRequest,
} from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import {
  InvalidRequestError,
  JwtStateError,
  TokenMissingError,
  WrongContextError,
} from '../jwt-state.errors.js';
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
    const traits = this.traits.of(context);
    if (traits.isPublic) return true;
    const request = context.getType() === 'http' ? this.getRequest(context) : undefined;
    if (!isHttpRequest(request)) return letInOutsideHttp(context, traits);
    if (traits.acceptsRefreshToken) {
      // Here and not in the controller, so that refusals by guards, pipes and filters have it, too.
      forbidStoring(responseOf(context));
      // A refresh token stands for itself; the access token beside it has expired, as a rule.
      if (this.isRefresh(request)) return true;
    }
    // Bound globally and to the route: once is enough. A guard with a `handleRequest` of its own is another one.
    if (this.isPlain && requestToken(request)?.resolver === this.resolver) return true;
    return this.judge(context, request, traits);
  }

  private judge(
    context: ExecutionContext,
    request: AnyRequest,
    traits: RouteTraits,
  ): boolean | Promise<boolean> {
    try {
      const credential = this.credentials.read(request);
      if (credential === undefined && this.isPlain) {
        if (traits.optional) return true;
        throw new TokenMissingError();
      }
      if (credential?.rivals) return this.chooseCookie(context, request, traits, credential.rivals);
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
    traits: RouteTraits,
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
    return this.judge(context, request, traits);
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

  /**
   * All of it, where an application has put something of its own into it. Its `handleRequest` may
   * refuse more than ours, never less; what is judged is the token that passport has checked.
   */
  private async throughPassport(context: ExecutionContext): Promise<VerifiedToken> {
    let outcome: PassportOutcome = [undefined, false, undefined];
    let answer: unknown;
    const handleRequest = (...args: [...PassportOutcome, ...unknown[]]) => {
      outcome = [args[0], args[1], args[2]];
      answer = this.handleRequest(...(args as unknown as Parameters<typeof this.handleRequest>));
      return answer;
    };
    // Elsewhere than in `user` the claims of a token that is refused later would be left behind.
    const getAuthenticateOptions = async () => ({
      ...(await this.getAuthenticateOptions(context)),
      property: 'user',
    });
    // Not on `this`, which other requests use at the same time.
    const attempt: this = Object.create(this, {
      handleRequest: { value: handleRequest },
      getAuthenticateOptions: { value: getAuthenticateOptions },
    });
    await super.canActivate.call(attempt, context);
    const [error, token, info] = outcome;
    if (token && (await answer)) return token;
    if (error) throw error;
    throw token ? new TokenMissingError() : refusalOf(info);
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
      // Passport may have put it there, whose token leads to nobody.
      request.user = undefined;
      return this.refuse(context, request, error);
    }
  }

  private admit(request: AnyRequest, token: ResolvedToken, origin: CredentialOrigin): true {
    setRequestToken(request, token, origin, this.resolver);
    request.user = token.current;
    return true;
  }

  /** Turns it away, unless the route is open to guests and this counts as one. */
  private refuse(context: ExecutionContext, request: AnyRequest, error: unknown): true {
    if (isGuest(this.traits.of(context), error)) return true;
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

const LOG = new Logger('JwtStateModule');

/** What passport hands to `handleRequest`: an error, the token, why there is none. */
type PassportOutcome = [error: unknown, token: VerifiedToken | false, info: unknown];

/** What nobody can say at the moment is no bad token, so a 503 stays one. */
function isGuest({ optional }: RouteTraits, error: unknown): boolean {
  if (optional === undefined || !(error instanceof JwtStateError)) return false;
  return error instanceof TokenMissingError || (optional === 'ignore' && error.getStatus() < 500);
}

/** There is nothing here to read a token from: a guest may in, nobody else. */
function letInOutsideHttp(context: ExecutionContext, { optional }: RouteTraits): true {
  if (optional) return true;
  const where = `${context.getClass().name}.${context.getHandler().name}`;
  const error = new WrongContextError(
    `JwtStateGuard reads the tokens of HTTP requests, and ${where} was called without one (context ` +
      `type "${context.getType()}"). Mark it @Public(), and call TokenService.verify() there.`,
  );
  // Gateways have no global filters, and Nest itself logs no HttpException.
  if (context.getType() === 'ws') LOG.error(`${error.code}: ${error.message}`);
  throw error;
}

function responseOf(context: ExecutionContext): AnyResponse {
  return context.getArgByIndex(1);
}
