import type { ModulesContainer } from '@nestjs/core';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { WIRING } from '../jwt-state.tokens.js';
import { refuseOtherCopy } from './copies.js';
import { refuseRequestScope, refuseRequestScopedGuards } from './request-scope.check.js';

/**
 * What must be right before this module makes anything: its configuration waits for this check, so a boot that
 * stops here has opened no connection of this module.
 *
 * @throws JwtStateConfigError
 */
export function checkWiring(container: ModulesContainer): void {
  const modules = [...container.values()];
  refuseOtherCopy(modules);
  const ours = modules.filter(({ providers }) => providers.has(WIRING));
  // Two would judge each request twice, each by a store of its own.
  if (ours.length > 1) {
    throw new JwtStateConfigError(
      'JwtStateModule is imported more than once. Call forRoot() in the root module only; it is global.',
    );
  }
  for (const module of ours) refuseRequestScope(module);
  refuseRequestScopedGuards(modules);
}
