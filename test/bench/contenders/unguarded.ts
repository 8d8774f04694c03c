import { type CanActivate, Controller, Get, UseGuards } from '@nestjs/common';
import { ANSWER, type Contender, PLATFORMS } from './contender.js';
import { listen, portOf } from './nest.js';

/** What a route costs that nobody guards. */
export const unguarded: Contender = {
  name: 'unguarded',
  title: 'Nest, unguarded',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: false,
  async start({ platform }) {
    @Controller()
    class OpenController {
      @Get()
      read() {
        return ANSWER;
      }
    }
    return { port: await portOf(await listen(platform, { controllers: [OpenController] })) };
  },
};

class EmptyGuard implements CanActivate {
  canActivate(): boolean {
    return true;
  }
}

/** What Nest itself takes for calling a guard: no guard can be cheaper. */
export const emptyGuard: Contender = {
  name: 'empty-guard',
  title: 'Nest, a guard that returns true',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: false,
  async start({ platform }) {
    @Controller()
    class GuardedController {
      @UseGuards(EmptyGuard)
      @Get()
      read() {
        return ANSWER;
      }
    }
    return { port: await portOf(await listen(platform, { controllers: [GuardedController] })) };
  },
};
