import { Body, Controller, HttpCode, Post, Res, UseGuards } from '@nestjs/common';
import {
  CurrentToken,
  JwtStateGuard,
  type LogInOptions,
  Public,
  ReissuesToken,
  TokenDelivery,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';

type AnyResponse = Parameters<TokenDelivery['deliver']>[0];

/** Where sessions begin, choose and end: for tests of refresh tokens. */
@Controller()
@UseGuards(JwtStateGuard)
export class SessionController {
  constructor(
    private readonly tokens: TokenService,
    private readonly delivery: TokenDelivery,
  ) {}

  @Public()
  @Post('login')
  @HttpCode(200)
  async logIn(
    @Body() { user }: { user: string },
    @Res({ passthrough: true }) response: AnyResponse,
  ) {
    const issued = await this.tokens.issue(user);
    this.delivery.deliver(response, issued);
    return issued;
  }

  /** For browsers that keep both tokens in cookies. */
  @Public()
  @Post('login-by-cookies')
  @HttpCode(204)
  async logInByCookies(
    @Body() { user, ...how }: { user: string } & LogInOptions,
    @Res({ passthrough: true }) response: AnyResponse,
  ) {
    this.delivery.deliver(response, await this.tokens.issue(user, {}, how));
  }

  @Post('tenant')
  @ReissuesToken({ scope: 'session' })
  async chooseTenant(@CurrentToken() token: VerifiedToken, @Body() { tenant }: { tenant: string }) {
    await this.tokens.reissue(token, { tenant });
    return { tenant };
  }

  @Post('leave')
  @HttpCode(200)
  async leave(
    @CurrentToken() token: VerifiedToken,
    @Res({ passthrough: true }) response: AnyResponse,
  ) {
    await this.tokens.revoke(token);
    this.delivery.clear(response);
    return { left: true };
  }
}
