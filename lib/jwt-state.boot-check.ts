import { Inject, Injectable, Logger, type OnApplicationBootstrap, type Type } from '@nestjs/common';
import { GUARDS_METADATA, SSE_METADATA } from '@nestjs/common/constants.js';
import { ApplicationConfig, DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';
import { PUBLIC } from './decorators/public.decorator.js';
import type { DenyListStore } from './deny-list/deny-list.store.js';
import { memoryNotice } from './deny-list/memory-notice.js';
import { JwtStateGuard } from './guards/jwt-state.guard.js';
import { REISSUES_TOKEN } from './interceptors/token-reissue.interceptor.js';
import type { JwtStateConfig } from './jwt-state.config.js';
import { JwtStateConfigError } from './jwt-state.errors.js';
import { CONFIG, STORE } from './jwt-state.tokens.js';
import { RefreshRoute } from './refresh/refresh-route.js';
import { TokenMint } from './token/token-mint.js';

type Handler = (...args: unknown[]) => unknown;

/** Mistakes in the wiring that only the finished application shows, and two honest words of warning. */
@Injectable()
export class BootCheck implements OnApplicationBootstrap {
  private readonly logger = new Logger('JwtStateModule');

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly reflector: Reflector,
    private readonly application: ApplicationConfig,
    private readonly mint: TokenMint,
    private readonly refreshRoute: RefreshRoute,
    @Inject(STORE) private readonly store: DenyListStore,
    @Inject(CONFIG) private readonly config: JwtStateConfig,
  ) {}

  onApplicationBootstrap(): void {
    this.refuseSecondModule();
    for (const { metatype, instance } of this.discovery.getControllers()) {
      if (!metatype || !instance) continue;
      const prototype = Object.getPrototypeOf(instance) as Record<string, Handler>;
      for (const method of this.scanner.getAllMethodNames(prototype)) {
        const handler = prototype[method];
        if (handler) this.checkHandler(metatype as Type, handler);
      }
    }
    this.refuseUnknownCookiePath();
    this.warnAboutStore();
  }

  /** Two modules would judge each request twice, each by a store of its own. */
  private refuseSecondModule(): void {
    const checks = this.discovery.getProviders().filter(({ metatype }) => metatype === BootCheck);
    if (checks.length < 2) return;
    throw new JwtStateConfigError(
      'JwtStateModule is imported more than once. Call forRoot() in the root module only; it is global.',
    );
  }

  /** A cookie for a path that is not the route's would never come back. */
  private refuseUnknownCookiePath(): void {
    const { tokens } = this.config.refresh;
    if (!tokens?.cookie || tokens.cookie.path !== undefined || this.refreshRoute.path) return;
    const paths = this.refreshRoute.paths.map((path) => JSON.stringify(path)).join(' and ');
    throw new JwtStateConfigError(
      paths === ''
        ? 'refresh.tokens.cookie.path is missing: refresh.path is false, so this module does not know ' +
            'where the cookie is to be sent. Set it to the path of your refresh route.'
        : `refresh.tokens.cookie.path is missing: the refresh route is ${paths}, and a cookie has one ` +
            'path, without parameters or wildcards. Set it to what all its requests begin with, such as "/".',
    );
  }

  private checkHandler(controller: Type, handler: Handler): void {
    if (this.reflector.get(REISSUES_TOKEN, handler) === undefined) return;
    const where = `${controller.name}.${handler.name}`;
    if (!this.isGuarded(controller, handler)) {
      throw new JwtStateConfigError(
        `@ReissuesToken() on ${where}: the route is not guarded. Add @UseGuards(JwtStateGuard) to it, ` +
          "or set guard: 'global' and take @Public() off.",
      );
    }
    if (this.reflector.get(SSE_METADATA, handler)) {
      throw new JwtStateConfigError(
        `@ReissuesToken() on ${where}: a stream of events has no end after which a token could be reissued.`,
      );
    }
    if (!this.mint.canSign) {
      throw new JwtStateConfigError(
        `@ReissuesToken() on ${where}: this service only verifies. Give it \`keys.privateKey\`, or ` +
          'move the route to the issuing service.',
      );
    }
  }

  private isGuarded(controller: Type, handler: Handler): boolean {
    if (this.reflector.getAllAndOverride(PUBLIC, [handler, controller])) return false;
    const guards: unknown[] = [
      ...this.reflector.getAllAndMerge<unknown[]>(GUARDS_METADATA, [handler, controller]),
      ...this.application.getGlobalGuards(),
      ...this.application.getGlobalRequestGuards().map(({ metatype }) => metatype),
    ];
    return guards.some(isOurs);
  }

  private warnAboutStore(): void {
    if (!this.config.denyList.isOn) {
      this.logger.log(
        `There is no deny list: a token that was replaced or logged out works until its exp, up to ${
          this.config.accessTokenLifetime / 1000
        } s.`,
      );
    } else if (this.store.ephemeral) {
      this.logger.warn(memoryNotice(this.config.denyList));
    } else if (this.store.atomic === 'process') {
      this.logger.warn(
        'The store of the deny list has no atomic "set if absent": parallel requests in different ' +
          'processes may end with more than one successor of a token. Redis through @keyv/redis has it.',
      );
    }
  }
}

/** The guard itself or a subclass, as a class or as an instance. */
function isOurs(guard: unknown): boolean {
  if (guard instanceof JwtStateGuard) return true;
  return (
    typeof guard === 'function' &&
    (guard === JwtStateGuard || guard.prototype instanceof JwtStateGuard)
  );
}
