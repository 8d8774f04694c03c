import type { RedisServer } from './redis-server.ts';

export default async function tearDownRedis(): Promise<void> {
  const server: RedisServer | undefined = Reflect.get(
    globalThis,
    Symbol.for('nestjs-jwt-state.test.redis'),
  );
  if (!server) return;
  delete process.env.REDIS_URL;
  await server.stop();
}
