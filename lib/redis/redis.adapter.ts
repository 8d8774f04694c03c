import { EventEmitter } from 'node:events';
import { NATIVE_STORE } from '../deny-list/native-store.js';
import { redisVerbs } from '../deny-list/redis.commands.js';
import { RedisNativeStore } from './redis-native.store.js';
import type { RedisDenyListConfig } from './resolve-options.js';

/**
 * What Keyv sees of the deny list's Redis. The module itself goes past it to {@link NATIVE_STORE}.
 * Keyv's verbs work for those who look in from outside, and fail where Redis fails.
 */
export class RedisAdapter extends EventEmitter {
  /** Keyv keeps its own options here. */
  opts: Record<string, unknown> = {};
  namespace?: string;
  declare readonly [NATIVE_STORE]: RedisNativeStore;

  constructor(config: RedisDenyListConfig) {
    super();
    // Not enumerable: whoever prints the cache must not print the password with it.
    Object.defineProperty(this, NATIVE_STORE, { value: new RedisNativeStore(config) });
  }

  async get(key: string): Promise<string | undefined> {
    const [value] = await redisVerbs.read(this.commands, [key], true);
    return value;
  }

  async set(key: string, value: string, ttl?: number): Promise<boolean> {
    return (await this.commands.set(key, value, ttl === undefined ? {} : { PX: ttl })) === 'OK';
  }

  async delete(key: string): Promise<boolean> {
    return (await this.commands.del(key)) === 1;
  }

  async has(key: string): Promise<boolean> {
    return (await this.get(key)) !== undefined;
  }

  /** Refused: every revoked token would be valid again. */
  async clear(): Promise<never> {
    throw new Error('A deny list cannot be cleared: every revoked token would be valid again.');
  }

  async disconnect(): Promise<void> {
    await this[NATIVE_STORE].close();
  }

  private get commands() {
    return this[NATIVE_STORE].commands;
  }
}
