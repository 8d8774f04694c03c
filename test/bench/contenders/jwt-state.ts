import { Controller, Get, Post, type Type, UseGuards } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import { JwtStateGuard, JwtStateModule, ReissuesToken, TokenService } from 'nestjs-jwt-state';
import { redisDenyList } from 'nestjs-jwt-state/redis';
import { fillThrough, issueMany, optionsOf } from '../jwt-state.js';
import { ANSWER, type Contender, PLATFORMS, type Running, type Setup } from './contender.js';
import { listen, portOf } from './nest.js';

@Controller()
class GuardedController {
  @UseGuards(JwtStateGuard)
  @Get()
  read() {
    return ANSWER;
  }
}

/** Not in the controller above: the decorator puts an interceptor around all routes beside it. */
@Controller('change')
class ChangingController {
  @UseGuards(JwtStateGuard)
  @ReissuesToken()
  @Post()
  change() {
    return ANSWER;
  }
}

@Controller()
class MixedController {
  @UseGuards(JwtStateGuard)
  @Get()
  read() {
    return ANSWER;
  }

  @UseGuards(JwtStateGuard)
  @ReissuesToken()
  @Post()
  change() {
    return ANSWER;
  }
}

/** This module as it comes. A deny list in memory knows only the tokens of its own process. */
export const jwtStateInMemory: Contender = {
  name: 'jwt-state',
  title: 'nestjs-jwt-state, in memory',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: false,
  start: (setup) => startInMemory(setup, [GuardedController, ChangingController]),
};

/** The same route in a controller that has a `@ReissuesToken()` handler as well. */
export const jwtStateBeside: Contender = {
  name: 'jwt-state-beside',
  title: 'the same beside a @ReissuesToken() handler',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: false,
  start: (setup) => startInMemory(setup, [MixedController]),
};

/** Every request asks Redis. */
export const jwtStateInRedis: Contender = {
  name: 'jwt-state-redis',
  title: 'nestjs-jwt-state, Redis without client-side caching',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: true,
  start: (setup) => startInRedis(setup, false),
};

export const jwtStateNear: Contender = {
  name: 'jwt-state-near',
  title: 'nestjs-jwt-state, Redis',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: true,
  start: (setup) => startInRedis(setup, {}),
};

async function startInRedis(setup: Setup, nearCopy: false | object): Promise<Running> {
  const url = setup.redis as string;
  const { port } = await startGuarded(setup, redisDenyList({ url, nearCopy }));
  return { port };
}

async function startInMemory(setup: Setup, controllers: Type[]): Promise<Running> {
  const { port, tokens } = await startGuarded(setup, undefined, controllers);
  await fillThrough(tokens, setup.entries);
  return { port, tokens: await issueMany(tokens, setup.tokens) };
}

async function startGuarded(
  { platform, keys }: Setup,
  cache: Cache | undefined,
  controllers: Type[] = [GuardedController, ChangingController],
) {
  const app = await listen(platform, {
    imports: [JwtStateModule.forRoot(optionsOf(keys, cache))],
    controllers,
  });
  return { port: await portOf(app), tokens: app.get(TokenService) };
}
