import { type DynamicModule, type INestApplication, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { Platform } from './contender.js';

export interface NestParts {
  controllers: Type[];
  imports?: (Type | DynamicModule)[];
  providers?: Type[];
}

/** A Nest application on a free port of loopback, everything else as `nest new` leaves it. */
export async function listen(platform: Platform, parts: NestParts): Promise<INestApplication> {
  @Module(parts)
  class AppModule {}
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter, { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  return app;
}

export async function portOf(app: INestApplication): Promise<number> {
  return Number(new URL(await app.getUrl()).port);
}
