import KeyvRedis from '@keyv/redis';
import { Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { connectRedis, type Redis } from './redis.js';
import { redisUrl } from './settings.js';
import { MemoryUsers } from './users/memory-users.js';
import { RedisUsers } from './users/redis-users.js';
import { Users } from './users/users.js';

const REDIS = Symbol('redis');
export const DENY_LIST_CACHE = Symbol('deny-list-cache');

/** Where users and deny list are kept: in Redis when `REDIS_URL` is set, else in this process. */
@Module({
  providers: [
    {
      provide: REDIS,
      useFactory: () => {
        const url = redisUrl();
        return url && connectRedis(url);
      },
    },
    {
      provide: Users,
      inject: [REDIS],
      useFactory: (redis?: Redis) => (redis ? new RedisUsers(redis) : new MemoryUsers()),
    },
    {
      provide: DENY_LIST_CACHE,
      inject: [REDIS],
      useFactory: (redis?: Redis) => redis && cacheOver(redis),
    },
  ],
  exports: [Users, DENY_LIST_CACHE],
})
export class StorageModule implements OnApplicationShutdown {
  constructor(@Inject(REDIS) private readonly redis: Redis | undefined) {}

  onApplicationShutdown(): void {
    // The HTTP server has closed by now: no request is waiting for an answer.
    this.redis?.destroy();
  }
}

function cacheOver(redis: Redis): Cache {
  // The cast: @keyv/redis brings the types of an older client; this one works under it as well.
  const adapter = new KeyvRedis(redis as unknown as ConstructorParameters<typeof KeyvRedis>[0]);
  return createCache({ stores: [new Keyv(adapter)] });
}
