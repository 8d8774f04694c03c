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
} from '@nestjs/common';
import type { AnyRequest, AnyResponse } from '../delivery/raw-http.js';
import { TokenDelivery } from '../delivery/token-delivery.js';
import { JwtStateGuard } from '../guards/jwt-state.guard.js';
import { LeavesReissuing } from '../guards/leaves-reissuing.js';
import { type RequestToken, requestToken } from '../guards/request-token.js';
import { WrongContextError } from '../jwt-state.errors.js';
import { Reissuer } from '../reissue/reissuer.js';
import type { IssuedToken, TokenResponse } from '../token/issued-token.js';
import { TokenMint } from '../token/token-mint.js';

/**
 * `POST /auth/refresh-token`: the authenticated client gets a new token, with claims from the
 * source and a new `exp`, and the old one is superseded. Answers as a token endpoint (RFC 6749
 * §5.1).
 *
 * @publicApi
 */
@Controller()
@UseGuards(JwtStateGuard)
export class RefreshTokenController {
  @Inject(Reissuer) private readonly reissuer!: Reissuer;
  @Inject(TokenMint) private readonly mint!: TokenMint;
  @Inject(TokenDelivery) private readonly delivery!: TokenDelivery;

  @Post()
  @HttpCode(200)
  @LeavesReissuing()
  async refresh(
    @Req() request: AnyRequest,
    @Res({ passthrough: true }) response: AnyResponse,
  ): Promise<IssuedToken | Omit<TokenResponse, 'access_token'>> {
    if (!this.mint.canSign) throw new NotFoundException();
    const token = this.tokenOf(request);
    const issued = await this.reissuer.replace(token.tip, { renew: true }, token.presented);
    this.delivery.stage(response, issued, token.origin);
    if (token.origin === 'header') return issued;
    // Scripts that cannot read the cookie must not find its content here.
    const { access_token: _, ...rest } = issued.toJSON();
    return rest;
  }

  private tokenOf(request: AnyRequest): RequestToken {
    const token = requestToken(request);
    if (token) return token;
    throw new WrongContextError('The refresh route was reached without JwtStateGuard.');
  }
}

/** The controller at another path; a path belongs to a class in Nest. */
export function refreshControllerAt(path: string): Type<RefreshTokenController> {
  @Controller(path)
  class Configured extends RefreshTokenController {}
  // The name under which Nest logs the route.
  Object.defineProperty(Configured, 'name', { value: RefreshTokenController.name });
  return Configured;
}
