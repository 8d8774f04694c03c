import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { RedisAdapter } from './redis.adapter.js';
import type { RedisDenyListOptions } from './redis-deny-list.options.js';
import { resolveRedisOptions } from './resolve-options.js';

/**
 * A deny list on Redis (6 or later) or Valkey, for `denyList.cache`: a client of its own that fails at
 * once when the server is away, and a near copy, so that a look-up that was answered before needs no
 * round trip. The module connects it at boot and closes it with the application.
 *
 * A server that is away at boot is a warning in the log. One that evicts stops the boot; one that
 * keeps nothing over a restart, or does not say, is a warning.
 *
 * Import from `nestjs-jwt-state/redis`; it needs the package `@redis/client`.
 *
 * @example
 * ```ts
 * import { redisDenyList } from 'nestjs-jwt-state/redis';
 *
 * JwtStateModule.forRootAsync({
 *   useFactory: () => ({
 *     keys: { algorithm: 'HS256', secret: process.env.JWT_SECRET ?? '' },
 *     denyList: { cache: redisDenyList({ url: process.env.REDIS_URL }) },
 *   }),
 * });
 * ```
 *
 * @throws JwtStateConfigError for options that contradict each other, a `url` that is not valid (never quoted:
 * it may hold a password), a `client` of another package than `@redis/client`
 * @publicApi
 */
export function redisDenyList(options: RedisDenyListOptions): Cache {
  const store = new RedisAdapter(resolveRedisOptions(options));
  const keyv = new Keyv({ store, throwOnErrors: true });
  return createCache({ stores: [keyv] });
}
