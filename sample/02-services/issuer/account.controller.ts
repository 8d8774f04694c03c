import { Body, Controller, ForbiddenException, Get, HttpCode, Post } from '@nestjs/common';
import { CurrentToken, ReissuesToken, TokenService, type VerifiedToken } from 'nestjs-jwt-state';
import { readBody } from '../../01-subscription/body.js';
import type { UserClaims } from '../../01-subscription/users/user.js';
import { Users } from './users/users.js';

@Controller()
export class AccountController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService<UserClaims>,
  ) {}

  @Get('me')
  me(@CurrentToken() token: VerifiedToken<UserClaims>) {
    return token;
  }

  /** The user's own state: the response carries the new token, other devices get theirs. */
  @Post('subscription/upgrade')
  @HttpCode(200)
  @ReissuesToken()
  async upgrade(@CurrentToken('sub') username: string) {
    await this.users.change(username, { plan: 'premium' });
    return { plan: 'premium' };
  }

  /** The session's own state: nothing about the user changes, other devices stay where they are. */
  @Post('tenant')
  @HttpCode(200)
  @ReissuesToken({ scope: 'session' })
  async switchTenant(@CurrentToken() token: VerifiedToken<UserClaims>, @Body() body: unknown) {
    const { tenant } = readBody(body, 'tenant');
    if (!(await this.users.mayEnter(token.sub, tenant))) {
      throw new ForbiddenException('This tenant is not open to you.');
    }
    await this.tokens.reissue(token, { tenant });
    return { tenant };
  }
}
