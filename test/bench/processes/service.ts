import 'reflect-metadata';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import type { Cache } from 'cache-manager';
import { JwtStateError, JwtStateModule, TokenService } from 'nestjs-jwt-state';
import { redisDenyList } from 'nestjs-jwt-state/redis';
import { fillThrough, issueMany, optionsOf } from '../jwt-state.js';
import type { BenchKeys } from '../keys.js';
import { answerCalls } from './rpc.js';
import { signingKey } from './signing-key.js';

interface Start {
  keys: BenchKeys;
  redis?: string;
  near?: boolean;
  refreshTokens?: boolean;
  /** What is kept for the sake of late answers is gone after 14 s. */
  short?: boolean;
}

const SHORT = { gracePeriod: '1s', handlerTimeout: '1s', claimsTimeout: '1s' } as const;

/** What is timed one by one. `sign` is the part that nobody can spare himself. */
type Verb = 'sign' | 'issue' | 'refresh' | 'exchange';

/** The module in an application without HTTP: what its services take, by themselves. */
let app: INestApplicationContext;
let tokens: TokenService;
let keys: BenchKeys;

answerCalls({
  start: async (start: Start) => {
    keys = start.keys;
    const options = optionsOf(keys, cacheOf(start));
    const refresh = start.refreshTokens ? { tokens: {} } : {};
    const reissue = start.short ? SHORT : {};
    @Module({ imports: [JwtStateModule.forRoot({ ...options, refresh, reissue })] })
    class ServiceModule {}
    app = await NestFactory.createApplicationContext(ServiceModule, { logger: ['error'] });
    tokens = app.get(TokenService);
  },

  issue: (count: number) => issueMany(tokens, count),

  revokeSessions: (count: number) => fillThrough(tokens, count),

  /** So many times what leaves something in the store. */
  leave: async ({ what, count }: { what: Leaving; count: number }) => {
    const leave = LEAVINGS[what];
    for (let index = 0; index < count; index++) await leave(index);
  },

  /** When it was confirmed, by the clock that the processes of a machine share. */
  revoke: async (token: string) => {
    await tokens.revoke({ token });
    return process.hrtime.bigint();
  },

  /** When this process refused the token for the first time. */
  untilRefused: async (token: string) => {
    for (;;) {
      const isRefused = await tokens.verify(token).then(() => false, isRevocation);
      if (isRefused) return process.hrtime.bigint();
      // News of a change comes over a socket.
      await new Promise((resolve) => setImmediate(resolve));
    }
  },

  /** Microseconds for one look-up. */
  verify: async ({ tokens: given, times, parallel }: VerifyRun) => {
    const begun = performance.now();
    for (let done = 0; done < times; done += parallel) {
      const batch = Array.from({ length: parallel }, (_, index) =>
        tokens.verify(given[(done + index) % given.length] as string),
      );
      await Promise.all(batch);
    }
    return ((performance.now() - begun) * 1_000) / times;
  },

  /** Microseconds each, one after the other. */
  time: async ({ verb, count }: { verb: Verb; count: number }) => {
    const next = await stepOf(verb);
    const begun = performance.now();
    for (let index = 0; index < count; index++) await next();
    return ((performance.now() - begun) * 1_000) / count;
  },

  heap: async () => {
    for (let turn = 0; turn < 4; turn++) {
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return process.memoryUsage().heapUsed;
  },
});

/** What leaves something in the store, each time for another user. */
export type Leaving =
  | 'revoked session'
  | 'stale mark'
  | 'replaced token'
  | 'used refresh token'
  | 'used refresh token, its successor used';

const LEAVINGS: Record<Leaving, (index: number) => Promise<unknown>> = {
  'revoked session': () => fillThrough(tokens, 1),
  'stale mark': (index) => tokens.markStale({ sub: `marked-${index}` }),
  'replaced token': async (index) => {
    const { accessToken } = await tokens.issue(`replaced-${index}`);
    await tokens.refresh(accessToken);
  },
  'used refresh token': async (index) => {
    const { refreshToken } = await tokens.issue(`refreshed-${index}`);
    await tokens.refresh(refreshToken as string);
  },
  'used refresh token, its successor used': async () => {
    lastRefreshToken ??= (await tokens.issue('refreshed')).refreshToken as string;
    lastRefreshToken = (await tokens.refresh(lastRefreshToken)).refreshToken as string;
  },
};

let lastRefreshToken: string | undefined;

export interface VerifyRun {
  readonly tokens: readonly string[];
  readonly times: number;
  readonly parallel: number;
}

function cacheOf({ redis, near }: Start): Cache | undefined {
  if (redis === undefined) return undefined;
  return redisDenyList({ url: redis, nearCopy: near ? {} : false });
}

function isRevocation(error: unknown): true {
  if (error instanceof JwtStateError && error.code === 'TOKEN_REVOKED') return true;
  throw error;
}

/** @returns does it once; what it starts from is made beforehand */
async function stepOf(verb: Verb): Promise<() => Promise<unknown>> {
  if (verb === 'issue') return () => tokens.issue('somebody');
  const { accessToken, refreshToken, claims } = await tokens.issue('somebody');
  if (verb === 'sign') {
    const jwt = new JwtService({});
    const options = { privateKey: signingKey(keys), algorithm: keys.algorithm };
    return async () => jwt.sign({ ...claims }, options as never);
  }
  let token = verb === 'exchange' ? (refreshToken as string) : accessToken;
  return async () => {
    const issued = await tokens.refresh(token);
    token = verb === 'exchange' ? (issued.refreshToken as string) : issued.accessToken;
  };
}
