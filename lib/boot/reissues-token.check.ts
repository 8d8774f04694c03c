import { Injectable, Logger } from '@nestjs/common';
import { SSE_METADATA } from '@nestjs/common/constants.js';
import { ModuleRef, Reflector } from '@nestjs/core';
import { PUBLIC } from '../decorators/public.decorator.js';
import { JwtStateGuard } from '../guards/jwt-state.guard.js';
import { isOurGuard } from '../guards/our-guard.js';
import { REISSUES_TOKEN } from '../interceptors/token-reissue.interceptor.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { TokenMint } from '../token/token-mint.js';
import { tokensOfClass } from './dependencies.js';
import { GuardedRoutes, type Route } from './guarded-routes.js';
import { classOf, isPlainPassportGuard } from './passport-guards.js';

/** Whether a token can be reissued on the routes that say so. */
@Injectable()
export class ReissuesTokenCheck {
  private readonly logger = new Logger('JwtStateModule');

  constructor(
    private readonly module: ModuleRef,
    private readonly reflector: Reflector,
    private readonly routes: GuardedRoutes,
  ) {}

  /** @throws JwtStateConfigError that names the route */
  run(): void {
    const canSign = this.module.get(TokenMint).canSign;
    for (const route of this.routes.all()) {
      const { handler, name: where } = route;
      if (this.reflector.get(REISSUES_TOKEN, handler) === undefined) continue;
      this.checkGuards(route);
      if (this.reflector.get(SSE_METADATA, handler)) {
        throw new JwtStateConfigError(
          `@ReissuesToken() on ${where}: a stream of events has no end after which a token could be reissued.`,
        );
      }
      if (!canSign) {
        throw new JwtStateConfigError(
          `@ReissuesToken() on ${where}: this service only verifies. Give it \`keys.privateKey\`, or ` +
            'move the route to the issuing service.',
        );
      }
    }
  }

  private checkGuards({ controller, handler, name, guards: own }: Route): void {
    const guards = [...own, ...this.routes.globalGuards()];
    const isPublic = this.reflector.getAllAndOverride(PUBLIC, [handler, controller]);
    // Another guard may ask ours: nobody can see that from here, and the request will show.
    const others = guards.filter((guard) => !isPlainPassportGuard(guard));
    if (isPublic || others.length === 0) {
      throw new JwtStateConfigError(
        `@ReissuesToken() on ${name}: the route is not guarded. Add @UseGuards(JwtStateGuard) to it, ` +
          "or set guard: 'global' and take @Public() off.",
      );
    }
    if (others.some((guard) => this.isOurs(guard))) return;
    const names = others.map((guard) => classOf(guard).name || 'a guard').join(', ');
    this.logger.warn(
      `@ReissuesToken() on ${name}: its guards are ${names}. Unless one of them asks JwtStateGuard, every ` +
        "request of this route is refused. Add @UseGuards(JwtStateGuard), or set guard: 'global'.",
    );
  }

  /** Ours, what stands in for it in a test, or a guard that has ours injected. */
  private isOurs(guard: unknown): boolean {
    if (isOurGuard(guard) || guard === this.module.get(JwtStateGuard)) return true;
    return tokensOfClass(classOf(guard)).some(isOurGuard);
  }
}
