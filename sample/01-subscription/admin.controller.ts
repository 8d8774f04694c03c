import { Body, Controller, HttpCode, NotFoundException, Param, Post } from '@nestjs/common';
import { TokenService } from 'nestjs-jwt-state';
import { oneOf, readBody } from './body.js';
import { Requires } from './requires.decorator.js';
import { ROLES } from './users/user.js';
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
    // After the change: the user's next request must find the new role. Where the mark is not
    // confirmed this throws, the answer is 503, and the administrator tries again.
    await this.tokens.markStale({ sub: username });
    return { username, role };
  }
}
