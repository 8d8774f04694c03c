import type { FactoryProvider } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';
import type { StaticOptions } from '../jwt-state.options.js';
import { FIXED_OPTIONS, GLOBAL_GUARD } from '../jwt-state.tokens.js';
import { JwtStateGuard } from './jwt-state.guard.js';

/**
 * `guard: 'global'`. Not as `APP_GUARD`: Nest runs those of the root module first, and a roles guard
 * among them would see no `request.user`. What is bound while providers are made precedes them all.
 */
export const globalGuard: FactoryProvider<JwtStateGuard | undefined> = {
  provide: GLOBAL_GUARD,
  inject: [FIXED_OPTIONS, JwtStateGuard, ApplicationConfig],
  useFactory: (options: StaticOptions, guard: JwtStateGuard, application: ApplicationConfig) => {
    if (options.guard !== 'global') return undefined;
    application.addGlobalGuard(guard);
    return guard;
  },
};
