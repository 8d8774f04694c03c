import type { Type } from '@nestjs/common';
import {
  PARAMTYPES_METADATA,
  PROPERTY_DEPS_METADATA,
  SELF_DECLARED_DEPS_METADATA,
} from '@nestjs/common/constants.js';
import type { ModulesContainer } from '@nestjs/core';

/*
 * What depends on what, read from the definitions and not from Nest's own record of it: that record
 * is written while providers are made, and a check that waits for it comes too late.
 */

type ValueOf<M> = M extends Map<unknown, infer V> ? V : never;
export type NestModule = ValueOf<ModulesContainer>;
export type Wrapper = ValueOf<NestModule['providers']>;
type Token = Parameters<NestModule['providers']['get']>[0];

/** What a provider is made from; nothing where it is a value. */
export function tokensOf({ inject, metatype }: Wrapper): Token[] {
  if (inject) return inject.map(unwrapped).filter((token) => token !== undefined);
  return typeof metatype === 'function' ? tokensOfClass(metatype as Type) : [];
}

/** What a class takes into its constructor and its properties. */
export function tokensOfClass(type: Type): Token[] {
  const read = <T>(key: string): T[] => Reflect.getMetadata(key, type) ?? [];
  const parameters = [...read<unknown>(PARAMTYPES_METADATA)];
  const declared = read<{ index: number; param: unknown }>(SELF_DECLARED_DEPS_METADATA);
  for (const { index, param } of declared) parameters[index] = param;
  const properties = read<{ type: unknown }>(PROPERTY_DEPS_METADATA).map(
    (property) => property.type,
  );
  return [...parameters, ...properties].map(unwrapped).filter((token) => token !== undefined);
}

/** The provider that a module gets for a token: its own, or one that an import of it exports. */
export function lookUp(token: Token, module: NestModule): Wrapper | undefined {
  return module.providers.get(token) ?? lookUpInImports(token, module, new Set(), false);
}

function lookUpInImports(
  token: Token,
  module: NestModule,
  visited: Set<NestModule>,
  isReExport: boolean,
): Wrapper | undefined {
  for (const imported of module.imports) {
    // A module hands on what it imports only where it exports the import.
    if (visited.has(imported) || (isReExport && !module.exports.has(imported.metatype))) continue;
    visited.add(imported);
    const own = imported.exports.has(token) ? imported.providers.get(token) : undefined;
    const found = own ?? lookUpInImports(token, imported, visited, true);
    if (found) return found;
  }
  return undefined;
}

/** As the application's developer would call it. */
export function nameOf({ name, metatype, inject, isAlias }: Wrapper): string {
  const isClass = typeof metatype === 'function' && !inject && !isAlias;
  if (isClass && metatype.name) return metatype.name;
  return typeof name === 'symbol' ? (name.description ?? 'a provider') : String(name);
}

/** `forwardRef(() => X)` and `{ token: X, optional: true }` are X. */
function unwrapped(dependency: unknown): Token | undefined {
  if (typeof dependency !== 'object' || dependency === null) return dependency as Token;
  if ('forwardRef' in dependency) return (dependency.forwardRef as () => Token)();
  return 'token' in dependency ? (dependency.token as Token) : undefined;
}
