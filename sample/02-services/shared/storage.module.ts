import KeyvRedis from '@keyv/redis';
import { Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { connectRedis, type Redis } from '../../01-subscription/redis.js';
import { required } from './settings.js';

export const REDIS = Symbol('redis');
export const DENY_LIST_CACHE = Symbol('deny-list-cache');

/** One Redis for all: the deny list of both services, and the users of the issuer. */
@Module({
  providers: [
    { provide: REDIS, useFactory: () => connectRedis(required('REDIS_URL')) },
    { provide: DENY_LIST_CACHE, inject: [REDIS], useFactory: cacheOver },
  ],
  exports: [REDIS, DENY_LIST_CACHE],
})
export class StorageModule implements OnApplicationShutdown {
  constructor(@Inject(REDIS) private readonly redis: Redis) {}

  onApplicationShutdown(): void {
    // The HTTP server has closed by now: no request is waiting for an answer.
    this.redis.destroy();
  }
}

function cacheOver(redis: Redis): Cache {
  // The cast: @keyv/redis brings the types of an older client; this one works under it as well.
  const adapter = new KeyvRedis(redis as unknown as ConstructorParameters<typeof KeyvRedis>[0]);
  return createCache({ stores: [new Keyv(adapter)] });
}
