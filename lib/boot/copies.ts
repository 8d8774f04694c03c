import type { Type } from '@nestjs/common';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { type NestModule, nameOf, tokensOf, type Wrapper } from './dependencies.js';

/** Shared by all copies of this package in the process; each has another value. */
const COPY = Symbol.for('nestjs-jwt-state:copy');
const THIS_COPY = Symbol('nestjs-jwt-state:this-copy');

/** For every class that an application can inject or bind. Their subclasses inherit it. */
export function markAsOurs(types: readonly Type[]): void {
  for (const type of types) Object.defineProperty(type, COPY, { value: THIS_COPY });
}

/**
 * Package managers can install this package twice, and the classes of one are nothing to the other: a
 * guard that has let nobody in, an interceptor that finds no token.
 *
 * @throws JwtStateConfigError that names the class and the one that uses it
 */
export function refuseOtherCopy(modules: Iterable<NestModule>): void {
  for (const module of modules) {
    const { providers, injectables, controllers, name } = module;
    if (isOfOtherCopy(module.metatype)) throw twoCopies(name, 'the application');
    for (const wrapper of [...providers, ...injectables, ...controllers].map(([, each]) => each)) {
      for (const type of [wrapper.metatype, ...tokensOf(wrapper as Wrapper)]) {
        if (isOfOtherCopy(type)) throw twoCopies(type.name, nameOf(wrapper as Wrapper));
      }
    }
  }
}

function isOfOtherCopy(type: unknown): type is Type {
  if (typeof type !== 'function') return false;
  const copy = (type as { [COPY]?: symbol })[COPY];
  return copy !== undefined && copy !== THIS_COPY;
}

function twoCopies(used: string, by: string): JwtStateConfigError {
  const user = used === by ? '' : ` (used by ${by})`;
  return new JwtStateConfigError(
    `There are two copies of nestjs-jwt-state in this application: ${used}${user} is not of the one whose ` +
      'JwtStateModule is imported. `npm ls nestjs-jwt-state` shows both. Give all packages the same ' +
      'version, and make it a peer dependency of the libraries among them.',
  );
}
