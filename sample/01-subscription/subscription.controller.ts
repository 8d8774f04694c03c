import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { CurrentToken, ReissuesToken, type VerifiedToken } from 'nestjs-jwt-state';
import { oneOf, readBody } from './body.js';
import { Requires } from './requires.decorator.js';
import { PLANS, type UserClaims } from './users/user.js';
import { Users } from './users/users.js';

@Controller()
export class SubscriptionController {
  constructor(private readonly users: Users) {}

  @Get('me')
  me(@CurrentToken() token: VerifiedToken<UserClaims>) {
    return token;
  }

  @Get('premium/report')
  @Requires('plan', 'premium')
  report(@CurrentToken('sub') username: string) {
    return { report: `Figures for ${username}.` };
  }

  /** The response carries a token with the new plan; the old token stops working. */
  @Post('subscription')
  @HttpCode(200)
  @ReissuesToken()
  async subscribe(@CurrentToken('sub') username: string, @Body() body: unknown) {
    const plan = oneOf('plan', PLANS, readBody(body, 'plan').plan);
    await this.users.change(username, { plan });
    return { plan };
  }
}
