import { Scope } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { isOurGuard } from '../guards/our-guard.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { MODULE_OPTIONS_TOKEN } from '../jwt-state.module-definition.js';
import { lookUp, type NestModule, nameOf, tokensOf, type Wrapper } from './dependencies.js';

/**
 * Nest makes everything that depends on a request-scoped provider anew for each request: this module
 * would open its store anew. Some versions of Nest leave out a global guard with such a dependency.
 *
 * @throws JwtStateConfigError that names the request-scoped provider
 */
export function refuseRequestScope({ providers }: NestModule): void {
  const options = providers.get(MODULE_OPTIONS_TOKEN);
  const path = options && pathToRequestScope(options);
  if (path) throw requestScoped(['options', ...path.slice(1)]);
  for (const provider of providers.values()) {
    const other = pathToRequestScope(provider);
    if (other) throw requestScoped(other);
  }
}

/** @throws JwtStateConfigError for a global guard of this module that Nest might leave out */
export function refuseRequestScopedGuards(modules: Iterable<NestModule>): void {
  for (const { providers } of modules) {
    for (const [token, guard] of providers) {
      if (!String(token).startsWith(APP_GUARD) || !leadsToOurGuard(guard)) continue;
      const path = pathToRequestScope(guard);
      if (!path) continue;
      throw new JwtStateConfigError(
        `An APP_GUARD with JwtStateGuard in it depends on ${path.at(-1)}, which is request-scoped ` +
          `(${path.join(' → ')}). Some versions of Nest leave such a guard out, and every route is open. ` +
          'Add `scope: Scope.REQUEST` to the APP_GUARD provider, or inject something that is not ' +
          'request-scoped.',
      );
    }
  }
}

function requestScoped(path: string[]): JwtStateConfigError {
  return new JwtStateConfigError(
    `JwtStateModule depends on ${path.at(-1)}, which is request-scoped (${path.join(' → ')}). This ` +
      'module is made once, at boot. Inject a provider that is not request-scoped; or inject ModuleRef, ' +
      'and call `await moduleRef.resolve(…)` in the claims source, each time that it is asked.',
  );
}

/** From a provider to the one that makes it request-scoped, by their names. */
function pathToRequestScope(from: Wrapper, seen = new Set<Wrapper>()): string[] | undefined {
  if (from.scope === Scope.REQUEST) return [nameOf(from)];
  seen.add(from);
  for (const dependency of dependenciesOf(from)) {
    const path = seen.has(dependency) ? undefined : pathToRequestScope(dependency, seen);
    if (path) return [nameOf(from), ...path];
  }
  return undefined;
}

function leadsToOurGuard(from: Wrapper, seen = new Set<Wrapper>()): boolean {
  if (isOurGuard(from.metatype)) return true;
  seen.add(from);
  return dependenciesOf(from).some((next) => !seen.has(next) && leadsToOurGuard(next, seen));
}

function dependenciesOf(provider: Wrapper): Wrapper[] {
  const { host } = provider;
  if (!host) return [];
  return tokensOf(provider).flatMap((token) => lookUp(token, host) ?? []);
}
