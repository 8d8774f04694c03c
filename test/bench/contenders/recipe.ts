import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import {
  Controller,
  Get,
  Injectable,
  type Type,
  UnauthorizedException,
  UseGuards,
} from '@nestjs/common';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { ExtractJwt, Strategy } from 'passport-jwt';
import type { BenchKeys } from '../keys.js';
import { isListed, redisCache } from './caches.js';
import { ANSWER, type Contender, PLATFORMS, type Setup } from './contender.js';
import { listen, portOf } from './nest.js';

interface Payload {
  sub: string;
  jti: string;
  username?: string;
}

type Validate = (payload: Payload) => unknown;

const user: Validate = ({ sub, username }) => ({ userId: sub, username });

/** `AuthGuard('jwt')` and a passport-jwt strategy, letter by letter as the Nest documentation shows. */
export const recipe: Contender = {
  name: 'recipe',
  title: "Nest docs' recipe",
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: false,
  start: (setup) => startRecipe(setup, setup.keys.verify, user),
};

/** The same with the key read once: what text costs jsonwebtoken at each request is not the recipe's. */
export const recipeWithKeyObject: Contender = {
  name: 'recipe-key-object',
  title: 'the same with a KeyObject',
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: false,
  start: (setup) => startRecipe(setup, keyObject(setup.keys), user),
};

/** The recipe, and `validate` asks Redis whether the token is denied. */
export const recipeWithRedis: Contender = {
  name: 'recipe-redis',
  title: "Nest docs' recipe, cache.get in validate (Redis)",
  baseline: 'unguarded',
  platforms: PLATFORMS,
  needsRedis: true,
  async start(setup) {
    const cache = await redisCache(setup.redis as string);
    return startRecipe(setup, setup.keys.verify, async (payload) => {
      if (await isListed(cache, payload.jti)) throw new UnauthorizedException();
      return user(payload);
    });
  },
};

async function startRecipe({ platform }: Setup, key: string | KeyObject, validate: Validate) {
  @Controller()
  class ProfileController {
    @UseGuards(AuthGuard('jwt'))
    @Get()
    read() {
      return ANSWER;
    }
  }
  const app = await listen(platform, {
    imports: [PassportModule],
    controllers: [ProfileController],
    providers: [strategyOf(key, validate)],
  });
  return { port: await portOf(app) };
}

function strategyOf(key: string | KeyObject, answer: Validate): Type {
  @Injectable()
  class JwtStrategy extends PassportStrategy(Strategy) {
    constructor() {
      super({
        jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
        ignoreExpiration: false,
        // Its types know of no KeyObject; jsonwebtoken does.
        secretOrKey: key as string,
      });
    }

    async validate(payload: Payload) {
      return answer(payload);
    }
  }
  return JwtStrategy;
}

function keyObject({ algorithm, verify }: BenchKeys): KeyObject {
  return algorithm === 'HS256' ? createSecretKey(verify, 'utf8') : createPublicKey(verify);
}
