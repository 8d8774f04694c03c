import { Body, Controller, HttpCode, NotFoundException, Param, Post } from '@nestjs/common';
import { TokenService } from 'nestjs-jwt-state';
import { oneOf, readBody } from '../../01-subscription/body.js';
import { Requires } from '../../01-subscription/requires.decorator.js';
import { ROLES } from '../../01-subscription/users/user.js';
import { Users } from './users/users.js';

@Controller('admin')
@Requires('role', 'admin')
export class AdminController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Post('users/:username/role')
  @HttpCode(200)
  async changeRole(@Param('username') username: string, @Body() body: unknown) {
    const role = oneOf('role', ROLES, readBody(body, 'role').role);
    if (!(await this.users.change(username, { role }))) {
      throw new NotFoundException('There is no such user.');
    }
    // After the change. If the mark is not confirmed the answer is 503: try again.
    await this.tokens.markStale({ sub: username });
    return { username, role };
  }

  /** Ends every session in that tenant, in one write. */
  @Post('tenants/:tenant/shut')
  @HttpCode(200)
  async shutTenant(@Param('tenant') tenant: string) {
    // The claims source first, so that nobody enters it again.
    if (!(await this.users.shutTenant(tenant))) {
      throw new NotFoundException('There is no such tenant.');
    }
    await this.tokens.revoke({ tenant });
    return { tenant, shut: true };
  }
}
