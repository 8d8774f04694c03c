import 'reflect-metadata';
import { Body, Controller, Get, HttpCode, Module, Post, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  CurrentToken,
  JwtStateGuard,
  JwtStateModule,
  Public,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from '../../lib/index.js';
import { redisDenyList } from '../../lib/redis/index.js';
import { Stalls } from './stalls.js';

/*
 * One of several processes on one Redis, as an application runs it: the module with its defaults, and
 * a deny list whose options come from the test that starts it.
 */

const stalls = new Stalls();

@Controller()
@UseGuards(JwtStateGuard)
class LoadedController {
  constructor(private readonly tokens: TokenService) {}

  @Public()
  @Post('login')
  @HttpCode(200)
  async logIn(@Body() { user }: { user: string }) {
    const { accessToken, claims } = await this.tokens.issue(user);
    return { token: accessToken, sid: claims.sid };
  }

  @Get('me')
  me(@CurrentToken() { sub }: VerifiedToken) {
    return { sub };
  }

  @Post('change')
  @HttpCode(200)
  @ReissuesToken()
  change() {
    return { changed: true };
  }

  @Public()
  @Post('revoke')
  @HttpCode(200)
  async revoke(@Body() { sid }: { sid: string }) {
    await this.tokens.revoke({ sid });
    return { revoked: sid };
  }

  @Public()
  @Get('stalls')
  stalls() {
    return stalls.seen;
  }
}

@Module({
  imports: [
    JwtStateModule.forRootAsync({
      useFactory: () => ({
        keys: { algorithm: 'HS256', secret: 'what the processes of a fault test sign with' },
        claims: () => ({ plan: 'free' }),
        denyList: {
          cache: redisDenyList(JSON.parse(process.env.DENY_LIST ?? '{}')),
          // Longer than by default: on a machine that does other things as well, no answer would come in time.
          lookupTimeout: Number(process.env.LOOKUP_TIMEOUT_MS) / 1_000,
        },
      }),
    }),
  ],
  controllers: [LoadedController],
})
class LoadedModule {}

const app = await NestFactory.create(LoadedModule, { forceCloseConnections: true });
app.enableShutdownHooks();
// A client that keeps its connections must not find one closed under it.
app.getHttpServer().keepAliveTimeout = 120_000;
await app.listen(0, '127.0.0.1');
console.log(`The service listens on ${await app.getUrl()}`);
