import fastifyJwt from '@fastify/jwt';
import type { Cache } from 'cache-manager';
import { type FastifyRequest, fastify } from 'fastify';
import { isListed, memoryCache, redisCache } from './caches.js';
import { ANSWER, type Contender, type Setup } from './contender.js';

const common = { baseline: 'fastify', platforms: ['fastify'] } as const;

export const plainFastify: Contender = {
  ...common,
  name: 'fastify',
  title: 'Fastify, unguarded',
  needsRedis: false,
  start: () => listen(fastify()),
};

export const fastifyJwtInMemory: Contender = {
  ...common,
  name: 'fastify-jwt',
  title: '@fastify/jwt with `trusted`, in memory',
  needsRedis: false,
  start: async (setup) => startGuarded(setup, await memoryCache(setup.entries), false),
};

/** fast-jwt can remember what it has verified, too; `trusted` is asked all the same. */
export const fastifyJwtCached: Contender = {
  ...common,
  name: 'fastify-jwt-cached',
  title: 'the same, remembering 10,000 verified tokens',
  needsRedis: false,
  start: async (setup) => startGuarded(setup, await memoryCache(setup.entries), 10_000),
};

export const fastifyJwtInRedis: Contender = {
  ...common,
  name: 'fastify-jwt-redis',
  title: '@fastify/jwt with `trusted`, Redis',
  needsRedis: true,
  start: async (setup) => startGuarded(setup, await redisCache(setup.redis as string), false),
};

async function startGuarded({ keys }: Setup, cache: Cache, remembered: number | false) {
  const app = fastify();
  await app.register(fastifyJwt, {
    secret: keys.algorithm === 'HS256' ? keys.verify : { private: keys.sign, public: keys.verify },
    sign: { algorithm: keys.algorithm },
    verify: { algorithms: [keys.algorithm], cache: remembered },
    trusted: async (_request, { jti }) => !(await isListed(cache, jti)),
  });
  app.addHook('onRequest', (request: FastifyRequest) => request.jwtVerify());
  return listen(app);
}

async function listen(app: ReturnType<typeof fastify>) {
  app.get('/', async () => ANSWER);
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  return { port: Number(new URL(url).port) };
}
