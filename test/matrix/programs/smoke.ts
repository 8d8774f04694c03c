/*
 * A log-in, a reissue, somebody else's change, a refresh and a log-out, over HTTP: on Express and Fastify, with the
 * deny list in memory and in Redis, with and without refresh tokens. Uses every entry of the package.
 */
import 'reflect-metadata';
import * as assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Body, Controller, Get, Injectable, Module, Param, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  CurrentToken,
  JwtStateModule,
  type JwtStateOptions,
  Public,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { createTokenClient } from 'nestjs-jwt-state/client';
import { type RedisDenyListOptions, redisDenyList } from 'nestjs-jwt-state/redis';
import { TestClock, tokenFor } from 'nestjs-jwt-state/testing';

const ADAPTERS = { Express: ExpressAdapter, Fastify: FastifyAdapter };
const REDIS: RedisDenyListOptions = { url: process.env.REDIS_URL as string };

@Injectable()
class Users {
  private readonly plans = new Map<string, string>();

  claimsOf(id: string) {
    return { plan: this.plans.get(id) ?? 'free' };
  }

  setPlan(id: string, plan: string): void {
    this.plans.set(id, plan);
  }
}

@Module({ providers: [Users], exports: [Users] })
class UsersModule {}

@Controller()
class AccountController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Public()
  @Post('login')
  logIn(@Body() { user }: { user: string }) {
    return this.tokens.issue(user);
  }

  @Get('me')
  me(@CurrentToken() { sub, plan }: VerifiedToken) {
    return { sub, plan };
  }

  @Post('plan/:plan')
  @ReissuesToken()
  change(@CurrentToken('sub') id: string, @Param('plan') plan: string) {
    this.users.setPlan(id, plan);
    return { changed: true };
  }

  @Public()
  @Post('webhook/:user/:plan')
  async paid(@Param('user') id: string, @Param('plan') plan: string) {
    this.users.setPlan(id, plan);
    await this.tokens.markStale({ sub: id });
    return {};
  }

  @Post('logout')
  async logOut(@CurrentToken() token: VerifiedToken) {
    await this.tokens.revoke(token);
    return {};
  }
}

async function smoke(
  platform: keyof typeof ADAPTERS,
  store: 'memory' | 'Redis',
  refresh: JwtStateOptions['refresh'],
): Promise<void> {
  @Module({
    controllers: [AccountController],
    imports: [
      UsersModule,
      JwtStateModule.forRootAsync({
        guard: 'global',
        refresh,
        imports: [UsersModule],
        inject: [Users],
        useFactory: (users: Users) => ({
          keys: { algorithm: 'HS256', secret: 'x'.repeat(40) },
          claims: (id) => users.claimsOf(id),
          denyList: {
            prefix: `smoke-${randomUUID()}:`,
            lookupTimeout: '5s',
            ...(store === 'Redis' && { cache: redisDenyList(REDIS) }),
          },
        }),
      }),
    ],
  })
  class AppModule {}

  const app = await NestFactory.create(AppModule, new ADAPTERS[platform](), {
    logger: false,
    abortOnError: false,
  });
  await app.listen(0, '127.0.0.1');
  try {
    const given = await tokenFor(app, 'carol', { plan: 'given' });
    await talk(await app.getUrl(), given.accessToken, Boolean(refresh?.tokens));
  } finally {
    await app.close();
  }
}

async function talk(url: string, given: string, hasRefreshTokens: boolean): Promise<void> {
  const request = async (method: string, path: string, token?: string, body?: unknown) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
    const fresh = /^Bearer (.+)$/.exec(response.headers.get('authorization') ?? '')?.[1];
    return { status: response.status, body: answer, fresh };
  };
  const refused = async (token: string) => {
    const { status, body } = await request('GET', '/me', token);
    return `${status} ${body.code}`;
  };

  assert.equal((await request('GET', '/me')).status, 401);
  assert.equal(await refused('abc'), '401 TOKEN_INVALID');
  assert.deepEqual((await request('GET', '/me', given)).body, { sub: 'carol', plan: 'given' });
  const login = await request('POST', '/login', undefined, { user: 'alice' });
  assert.equal(login.status, 201);
  const first = login.body.access_token as string;
  assert.deepEqual((await request('GET', '/me', first)).body, { sub: 'alice', plan: 'free' });

  const changed = await request('POST', '/plan/pro', first);
  assert.equal(changed.status, 201);
  const second = changed.fresh as string;
  assert.deepEqual((await request('GET', '/me', second)).body, { sub: 'alice', plan: 'pro' });

  await request('POST', '/webhook/alice/team');
  const stale = await request('GET', '/me', second);
  assert.deepEqual(stale.body, { sub: 'alice', plan: 'team' });
  let last = stale.fresh as string;
  let refreshToken: unknown;

  if (hasRefreshTokens) {
    const { body } = await request('POST', '/auth/refresh-token', undefined, {
      refresh_token: login.body.refresh_token,
    });
    last = body.access_token as string;
    refreshToken = body.refresh_token;
    assert.equal(typeof refreshToken, 'string');
  } else {
    const { body } = await request('POST', '/auth/refresh-token', last);
    last = body.access_token as string;
  }
  assert.deepEqual((await request('GET', '/me', last)).body, { sub: 'alice', plan: 'team' });

  await request('POST', '/logout', last);
  assert.equal(await refused(last), '401 TOKEN_REVOKED');
  if (hasRefreshTokens) {
    const again = await request('POST', '/auth/refresh-token', undefined, {
      refresh_token: refreshToken,
    });
    assert.equal(again.status, 400);
  }

  const client = createTokenClient({ baseUrl: url });
  const body = JSON.stringify({ user: 'bob' });
  const headers = { 'content-type': 'application/json' };
  const answer = await client.fetch('/login', { method: 'POST', body, headers });
  client.signIn((await answer.json()) as { access_token: string });
  await client.fetch('/plan/pro', { method: 'POST' });
  assert.equal(client.claims()?.plan, 'pro');
  client.close();
}

async function main(): Promise<void> {
  assert.equal(typeof new TestClock().now(), 'number');
  for (const platform of ['Express', 'Fastify'] as const) {
    for (const store of ['memory', 'Redis'] as const) {
      for (const refresh of [{}, { tokens: {} }]) await smoke(platform, store, refresh);
    }
  }
  console.log('ok');
}

void main();
