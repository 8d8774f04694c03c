import { Body, Controller, Header, HttpCode, Post, UnauthorizedException } from '@nestjs/common';
import {
  CurrentToken,
  type IssuedToken,
  Public,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { readBody } from './body.js';
import { Users } from './users/users.js';

@Controller('auth')
export class AuthController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Public()
  @Post('login')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  async login(@Body() body: unknown): Promise<IssuedToken> {
    const { username, password } = readBody(body, 'username', 'password');
    // Begun before the password is read: if it is changed and every session ended in between, this
    // log-in ends with them.
    const login = await this.tokens.begin(username);
    if (!(await this.users.hasPassword(username, password))) {
      throw new UnauthorizedException('The user name or the password is wrong.');
    }
    return this.tokens.issue(login);
  }

  @Post('logout')
  @HttpCode(200)
  async logout(@CurrentToken() token: VerifiedToken) {
    await this.tokens.revoke(token);
    return { ok: true };
  }

  @Post('logout-everywhere')
  @HttpCode(200)
  async logoutEverywhere(@CurrentToken('sub') username: string) {
    await this.tokens.revoke({ sub: username });
    return { ok: true };
  }
}
