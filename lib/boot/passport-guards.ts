import type { Type } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-jwt';
import { OWN_STRATEGY } from '../guards/jwt-state.strategy.js';
import { isOurGuard } from '../guards/our-guard.js';

/** What `AuthGuard()` of @nestjs/passport has, whichever copy of it made the class. */
const METHODS = ['canActivate', 'handleRequest', 'getAuthenticateOptions', 'logIn'] as const;
/** The name of the strategy in Nest's recipe, which may be registered later. */
const RECIPE = 'jwt';

export function classOf(guard: unknown): Type {
  return (typeof guard === 'function' ? guard : Object(guard).constructor) as Type;
}

/** `AuthGuard(…)` as it is or with other outcomes: it asks passport and nobody else. */
export function isPlainPassportGuard(guard: unknown): boolean {
  const type = classOf(guard);
  const made = isOurGuard(guard) ? undefined : madeByAuthGuard(type);
  return made !== undefined && made.prototype.canActivate === type.prototype.canActivate;
}

/**
 * How the guard is written in code, where it is one that lets passport-jwt check tokens:
 * `AuthGuard('jwt')`. Log-in by password or through another site is another matter.
 */
export function passportJwtGuard(guard: unknown): string | undefined {
  const made = isOurGuard(guard) ? undefined : madeByAuthGuard(classOf(guard));
  if (!made) return undefined;
  const strategies = jwtStrategies();
  const name = [...strategies, RECIPE].find((known) => made === AuthGuard(known));
  if (name !== undefined) return `AuthGuard('${name}')`;
  if (made === AuthGuard()) return passportJwtByDefault(guard, strategies);
  // Of a list its class tells nothing. One of a single name that is no passport-jwt is told apart.
  const isOther = otherStrategies(strategies).some((known) => made === AuthGuard(known));
  return isOther || strategies.length === 0 ? undefined : 'AuthGuard([…])';
}

function passportJwtByDefault(guard: unknown, strategies: string[]): string | undefined {
  const { defaultStrategy } = (guard as { options?: { defaultStrategy?: unknown } }).options ?? {};
  const names = defaultStrategy === undefined ? strategies : [defaultStrategy].flat();
  const isOne = names.some((name) => name === RECIPE || strategies.includes(name as string));
  return isOne ? 'AuthGuard()' : undefined;
}

/** The class in the chain that `AuthGuard()` has made. */
function madeByAuthGuard(type: Type): Type | undefined {
  for (let at = type?.prototype; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    if (METHODS.every((method) => Object.hasOwn(at, method))) return at.constructor as Type;
  }
  return undefined;
}

function jwtStrategies(): string[] {
  return strategyNames().filter((name) => isPassportJwt(strategyOf(name)));
}

function otherStrategies(strategies: string[]): string[] {
  return strategyNames().filter((name) => !strategies.includes(name));
}

/** Of the whole process: passport's registry is one. */
function strategyNames(): string[] {
  const registry = (passport as unknown as { _strategies?: Record<string, unknown> })._strategies;
  return Object.keys(registry ?? {}).filter((name) => !name.startsWith(OWN_STRATEGY));
}

function strategyOf(name: string): unknown {
  return (passport as unknown as { _strategies: Record<string, unknown> })._strategies[name];
}

/** Of this copy of passport-jwt, or of another one. */
function isPassportJwt(strategy: unknown): boolean {
  return strategy instanceof Strategy || typeof Object(strategy)._jwtFromRequest === 'function';
}
