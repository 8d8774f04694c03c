import { Body, Controller, ForbiddenException, Get, Post, UseGuards } from '@nestjs/common';
import {
  CurrentToken,
  JwtStateGuard,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { Users } from './users.js';

@Controller()
@UseGuards(JwtStateGuard)
export class MeController {
  @Get('me')
  me(@CurrentToken() token: VerifiedToken) {
    return token;
  }
}

/** What most tests ask for. */
@Controller()
@UseGuards(JwtStateGuard)
export class AccountController extends MeController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {
    super();
  }

  @Get('premium')
  premium(@CurrentToken('plan') plan: string) {
    if (plan !== 'premium') throw new ForbiddenException();
    return { report: 42 };
  }

  @Post('plan')
  @ReissuesToken()
  changePlan(@CurrentToken() token: VerifiedToken, @Body() { plan }: { plan: string }) {
    this.users.set(token.sub, { plan });
    return { changed: plan };
  }

  @Post('logout')
  async logOut(@CurrentToken() token: VerifiedToken) {
    await this.tokens.revoke(token);
    return { loggedOut: true };
  }
}
