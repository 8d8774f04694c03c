import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Cache } from 'cache-manager';
import express, { type Express } from 'express';
import { expressjwt } from 'express-jwt';
import { isListed, memoryCache, redisCache } from './caches.js';
import { ANSWER, type Contender, type Setup } from './contender.js';

const common = { baseline: 'express', platforms: ['express'] } as const;

export const plainExpress: Contender = {
  ...common,
  name: 'express',
  title: 'Express, unguarded',
  needsRedis: false,
  start: () => listen(express()),
};

export const expressJwtInMemory: Contender = {
  ...common,
  name: 'express-jwt',
  title: 'express-jwt with `isRevoked`, in memory',
  needsRedis: false,
  start: async (setup) => startGuarded(setup, await memoryCache(setup.entries)),
};

export const expressJwtInRedis: Contender = {
  ...common,
  name: 'express-jwt-redis',
  title: 'express-jwt with `isRevoked`, Redis',
  needsRedis: true,
  start: async (setup) => startGuarded(setup, await redisCache(setup.redis as string)),
};

function startGuarded({ keys }: Setup, cache: Cache) {
  const app = express();
  app.use(
    expressjwt({
      secret: keys.verify,
      algorithms: [keys.algorithm],
      isRevoked: async (_request, token) => {
        const { payload } = token ?? {};
        return typeof payload === 'object' && isListed(cache, payload.jti);
      },
    }),
  );
  return listen(app);
}

async function listen(app: Express) {
  app.get('/', (_request, response) => {
    response.json(ANSWER);
  });
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port };
}
