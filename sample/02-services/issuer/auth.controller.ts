import { Body, Controller, Header, HttpCode, Post, UnauthorizedException } from '@nestjs/common';
import {
  CurrentToken,
  type IssuedToken,
  Public,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { readBody } from '../../01-subscription/body.js';
import { Users } from './users/users.js';

/** `POST /auth/refresh-token` is here, too: it comes with the module. */
@Controller('auth')
export class AuthController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  /** Answers with an access token and a refresh token. */
  @Public()
  @Post('login')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  async login(@Body() body: unknown): Promise<IssuedToken> {
    const { username, password } = readBody(body, 'username', 'password');
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

  /** Every device, in every service, at its next request; the refresh tokens with it. */
  @Post('logout-everywhere')
  @HttpCode(200)
  async logoutEverywhere(@CurrentToken('sub') username: string) {
    await this.tokens.revoke({ sub: username });
    return { ok: true };
  }
}
