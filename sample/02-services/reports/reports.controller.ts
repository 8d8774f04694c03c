import { Controller, Get } from '@nestjs/common';
import { CurrentToken, type VerifiedToken } from 'nestjs-jwt-state';
import { Requires } from '../../01-subscription/requires.decorator.js';
import type { UserClaims } from '../../01-subscription/users/user.js';

@Controller('reports')
export class ReportsController {
  /** For premium users. It answers with the claims it runs with. */
  @Get()
  @Requires('plan', 'premium')
  read(@CurrentToken() { sub, plan, role, tenant }: VerifiedToken<UserClaims>) {
    return { report: `Figures of ${tenant} for ${sub}.`, sub, plan, role, tenant };
  }
}
