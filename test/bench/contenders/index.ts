import type { Contender, Platform } from './contender.js';
import { expressJwtInMemory, expressJwtInRedis, plainExpress } from './express-jwt.js';
import {
  fastifyJwtCached,
  fastifyJwtInMemory,
  fastifyJwtInRedis,
  plainFastify,
} from './fastify-jwt.js';
import { jwtStateBeside, jwtStateInMemory, jwtStateInRedis, jwtStateNear } from './jwt-state.js';
import { recipe, recipeWithKeyObject, recipeWithRedis } from './recipe.js';
import { emptyGuard, unguarded } from './unguarded.js';

const CONTENDERS: readonly Contender[] = [
  unguarded,
  emptyGuard,
  recipe,
  recipeWithKeyObject,
  recipeWithRedis,
  jwtStateInMemory,
  jwtStateBeside,
  jwtStateInRedis,
  jwtStateNear,
  plainFastify,
  fastifyJwtInMemory,
  fastifyJwtCached,
  fastifyJwtInRedis,
  plainExpress,
  expressJwtInMemory,
  expressJwtInRedis,
];

export function contenderNamed(name: string): Contender {
  const found = CONTENDERS.find((contender) => contender.name === name);
  if (found) return found;
  const names = CONTENDERS.map((contender) => contender.name).join(', ');
  throw new Error(`There is no contender ${name}; there are ${names}.`);
}

/** @param names only these, and whose throughput they are compared with */
export function contendersOn(
  platform: Platform,
  names: readonly string[] | undefined,
): readonly Contender[] {
  const wanted = names && new Set(names.flatMap((name) => [name, contenderNamed(name).baseline]));
  return CONTENDERS.filter(
    ({ name, platforms }) => platforms.includes(platform) && (wanted?.has(name) ?? true),
  );
}
