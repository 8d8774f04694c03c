import {
  Controller,
  HttpCode,
  Inject,
  NotFoundException,
  Post,
  Req,
  Res,
  type Type,
  UseGuards,
  UseInterceptors,
  VERSION_NEUTRAL,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { AnyRequest, AnyResponse } from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import { AcceptsRefreshToken } from '../guards/accepts-refresh-token.js';
import { JwtStateGuard } from '../guards/jwt-state.guard.js';
import { LeavesReissuing } from '../guards/leaves-reissuing.js';
import { requestToken } from '../guards/request-token.js';
import { ErrorHeadersInterceptor } from '../interceptors/error-headers.interceptor.js';
import { InvalidGrantRequestError, WrongContextError } from '../jwt-state.errors.js';
import { Reissuer } from '../reissue/reissuer.js';
import type { TokenResponse } from '../token/issued-token.js';
import { TokenMint } from '../token/token-mint.js';
import { type RefreshCredential, RefreshCredentials } from './refresh-credentials.js';
import { RefreshTokens } from './refresh-tokens.js';

/**
 * `POST /auth/refresh-token`: a new token with claims from the source and a new `exp`. For an access
 * token, which is superseded; or for a refresh token (`refresh.tokens`), in the body as RFC 6749 §6
 * says, or in its cookie.
 *
 * @publicApi
 */
@Controller()
@UseGuards(JwtStateGuard)
@UseInterceptors(ErrorHeadersInterceptor)
export class RefreshTokenController {
  @Inject(Reissuer) private readonly reissuer!: Reissuer;
  @Inject(RefreshTokens) private readonly refreshTokens!: RefreshTokens | undefined;
  @Inject(RefreshCredentials) private readonly credentials!: RefreshCredentials;
  @Inject(TokenMint) private readonly mint!: TokenMint;
  @Inject(TokenDelivery) private readonly delivery!: TokenDelivery;
  @Inject(HttpAdapterHost) private readonly host!: HttpAdapterHost;

  @Post()
  @HttpCode(200)
  @LeavesReissuing()
  @AcceptsRefreshToken()
  async refresh(@Req() request: AnyRequest, @Res() response: AnyResponse): Promise<void> {
    const answer = await this.answerTo(request, response);
    // Sent here, so that no interceptor of the application wraps it: clients know its form.
    // With a form of its own: `delivery.body` would add its field to a plain object.
    this.host.httpAdapter.reply(response, { toJSON: () => answer });
  }

  private async answerTo(request: AnyRequest, response: AnyResponse): Promise<TokenResponse> {
    if (!this.mint.canSign) throw new NotFoundException();
    const credential = await this.credentials.read(request, () =>
      this.delivery.dropFormer(response, 'refresh'),
    );
    if (credential) return this.exchange(credential, response);
    if (this.credentials.takesAccessTokens) return this.replace(request, response);
    throw new InvalidGrantRequestError('invalid_request', 'This endpoint takes a refresh token.');
  }

  private async exchange(
    { token, origin }: RefreshCredential,
    response: AnyResponse,
  ): Promise<TokenResponse> {
    const issued = await (this.refreshTokens as RefreshTokens).refresh(token);
    if (origin === 'cookie') {
      this.delivery.stage(response, issued, 'cookie');
      return issued.response();
    }
    this.delivery.stageInHeader(response, issued);
    // A client that sends it in the body gets the next one there, though others have cookies.
    return issued.response({ access: true, refresh: true });
  }

  private async replace(request: AnyRequest, response: AnyResponse): Promise<TokenResponse> {
    const token = requestToken(request);
    if (!token) throw new WrongContextError('The refresh route was reached without JwtStateGuard.');
    const reason = { why: 'refresh', renew: true } as const;
    const issued = await this.reissuer.replace(token.tip, reason, token.presented);
    this.delivery.stage(response, issued, token.origin);
    // Scripts that cannot read the cookie must not find its content here.
    return issued.response({ access: token.origin === 'header' });
  }
}

/** The controller at another path; a path belongs to a class in Nest. */
export function refreshControllerAt(path: string): Type<RefreshTokenController> {
  // A client asks for it without naming a version of the application's API.
  @Controller({ path, version: VERSION_NEUTRAL })
  class Configured extends RefreshTokenController {}
  // The name under which Nest logs the route.
  Object.defineProperty(Configured, 'name', { value: RefreshTokenController.name });
  return Configured;
}
