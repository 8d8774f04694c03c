import { RedisServer } from './redis-server.ts';

/**
 * The Redis that a run's end-to-end tests share, at `process.env.REDIS_URL`: the one named there, or
 * one of our own.
 */
export default async function setUpRedis(): Promise<void> {
  if (process.env.REDIS_URL) return;
  const server = await RedisServer.start();
  process.env.REDIS_URL = server.url;
  Reflect.set(globalThis, Symbol.for('nestjs-jwt-state.test.redis'), server);
}
