import { JwtStateGuard } from './jwt-state.guard.js';

/** The guard itself or a subclass, as a class or as an instance. */
export function isOurGuard(guard: unknown): boolean {
  if (guard instanceof JwtStateGuard) return true;
  return (
    typeof guard === 'function' &&
    (guard === JwtStateGuard || guard.prototype instanceof JwtStateGuard)
  );
}
