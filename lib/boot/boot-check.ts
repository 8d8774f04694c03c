import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { ApplicationConfig, ModuleRef } from '@nestjs/core';
import type { DenyListStore } from '../deny-list/deny-list.store.js';
import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { CONFIG, GLOBAL_GUARD, STORE } from '../jwt-state.tokens.js';
import { RefreshRoute } from '../refresh/refresh-route.js';
import { LeftoverGuardsCheck } from './leftover-guards.check.js';
import { refuseUnknownCookiePath } from './refresh-cookie.check.js';
import { ReissuesTokenCheck } from './reissues-token.check.js';
import { warnAboutStore } from './store.warning.js';

/** Mistakes in the wiring that only the finished application shows. Each check has its own file. */
@Injectable()
export class BootCheck implements OnApplicationBootstrap {
  // Nothing that depends on the options is injected: what is wrong with them must not keep this away.
  constructor(
    private readonly module: ModuleRef,
    private readonly application: ApplicationConfig,
    private readonly reissuesToken: ReissuesTokenCheck,
    private readonly leftoverGuards: LeftoverGuardsCheck,
  ) {}

  onApplicationBootstrap(): void {
    const config = this.module.get<JwtStateConfig>(CONFIG);
    this.refuseMissingGuard();
    this.reissuesToken.run();
    refuseUnknownCookiePath(config, this.module.get(RefreshRoute));
    this.leftoverGuards.run();
    warnAboutStore(config, this.module.get<DenyListStore>(STORE));
  }

  /** Whatever Nest has made of it: without the guard every route would be open. */
  private refuseMissingGuard(): void {
    const guard = this.module.get(GLOBAL_GUARD);
    if (guard === undefined || this.application.getGlobalGuards().includes(guard)) return;
    throw new JwtStateConfigError(
      "guard: 'global' is set, and JwtStateGuard is not among the global guards: every route is open.",
    );
  }
}
