import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { FastifyInstance } from 'fastify';
import { expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { closeApps, PLATFORMS, startApp } from '../support/test-app.js';

/** What a gateway does in front of the guard: the application's own headers tell it which. */
function gateway(request: IncomingMessage, _response: ServerResponse, next: () => void): void {
  const { headers } = request;
  const forwarded = headers['x-forwarded-authorization'];
  if (forwarded) headers.authorization = `${forwarded}`;
  if (headers['x-drop']) delete headers.authorization;
  if (headers['x-spoil']) (headers as { authorization: unknown }).authorization = ['Bearer a', 'b'];
  next();
}

/** As Fastify's own hooks do it: the new headers lie beside those of Node. */
function hook(nest: INestApplication): void {
  const fastify: FastifyInstance = nest.getHttpAdapter().getInstance();
  fastify.addHook('onRequest', async (request) => {
    const { 'x-forwarded-authorization': forwarded, 'x-drop': drop } = request.headers;
    const authorization = drop ? undefined : (forwarded ?? request.headers.authorization);
    (request as { headers: object }).headers = { ...request.headers, authorization };
  });
}

const WAYS = [
  ...PLATFORMS.map((platform) => [platform, 'middleware'] as const),
  ['Fastify', 'a hook'] as const,
];

describe.each(WAYS)('An Authorization header that was rewritten: %s, by %s', (platform, way) => {
  afterEach(closeApps);

  async function start() {
    const prepare = (nest: INestApplication) => {
      if (way === 'middleware') nest.use(gateway);
      else hook(nest);
    };
    const app = await startApp({ platform, prepare });
    const [good, other] = [await app.logIn('alice'), await app.logIn('bob')];
    return { app, good: `Bearer ${good}`, other: `Bearer ${other}` };
  }

  it('counts where there was none', async () => {
    const { app, good } = await start();
    const reply = await app.send('/me', { 'x-forwarded-authorization': good });
    expectNoNewToken(reply, { sub: 'alice' });
  });

  it.each([
    ['another scheme', 'Basic eDp5'],
    ['a malformed token', 'Bearer a b'],
    ['a token that is none', 'Bearer a.b.c'],
  ])('counts in the place of %s', async (_, authorization) => {
    const { app, good } = await start();
    const headers = { 'x-forwarded-authorization': good, authorization };
    expectNoNewToken(await app.send('/me', headers), { sub: 'alice' });
  });

  it('counts in the place of another good one, or of two', async () => {
    const { app, good, other } = await start();
    for (const authorization of [other, [other, good], [other, 'Bearer a.b.c']]) {
      const headers = { 'x-forwarded-authorization': good, authorization };
      expectNoNewToken(await app.send('/me', headers), { sub: 'alice' });
    }
  });

  it('is refused where it is bad now, though the client had sent a good one', async () => {
    const { app, good } = await start();
    const bad = { 'x-forwarded-authorization': 'Bearer a.b.c', authorization: good };
    expectRefusal(await app.send('/me', bad), 'TOKEN_INVALID');
    const basic = { 'x-forwarded-authorization': 'Basic eDp5', authorization: good };
    expectRefusal(await app.send('/me', basic), 'TOKEN_MISSING');
  });

  it('is gone where it was deleted', async () => {
    const { app, good } = await start();
    const reply = await app.send('/me', { 'x-drop': '1', authorization: good });
    expectRefusal(reply, 'TOKEN_MISSING');
  });

  it('is still held against its duplicates where nobody has touched it', async () => {
    const { app, good, other } = await start();
    for (const authorization of [
      [good, other],
      ['Basic eDp5', good],
    ]) {
      expectRefusal(await app.send('/me', { authorization }), 'INVALID_REQUEST');
    }
    expectNoNewToken(await app.send('/me', { authorization: [good, good] }), { sub: 'alice' });
    expectNoNewToken(await app.send('/me', { authorization: [good, 'Basic x'] }), { sub: 'alice' });
  });

  it('is 401 where it is no text any more', async () => {
    if (way !== 'middleware') return;
    const { app, good } = await start();
    const reply = await app.send('/me', { 'x-spoil': '1', authorization: good });
    expectRefusal(reply, 'TOKEN_INVALID');
    expect(reply.body.message).toMatch(/malformed/);
  });
});
