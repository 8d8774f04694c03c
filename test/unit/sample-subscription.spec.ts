import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  expectDead,
  expectNotReissued,
  expectReissued,
  overrideJwtState,
  TestClock,
  TestDenyList,
  tokenFor,
} from 'nestjs-jwt-state/testing';
import request from 'supertest';
import { AppModule } from '../../sample/01-subscription/app.module.js';

describe('Subscriptions', () => {
  const clock = new TestClock();
  const denyList = new TestDenyList();
  let app: INestApplication;
  const http = () => request(app.getHttpServer());

  beforeAll(async () => {
    const builder = Test.createTestingModule({ imports: [AppModule] });
    const module = await overrideJwtState(builder, { clock, denyList }).compile();
    app = module.createNestApplication();
    await app.init();
  });

  afterEach(() => {
    denyList.recover();
    clock.advance('1s'); // the circuit breaker gives the store another chance
  });

  afterAll(() => app.close());

  it('need the premium plan for the report', async () => {
    const token = await tokenFor(app, 'alice', { plan: 'free' });
    expectNotReissued(await http().get('/premium/report').set(token.header).expect(403));
  });

  it('bring a token with the new plan', async () => {
    const token = await tokenFor(app, 'alice', { plan: 'free' });
    const response = await http().post('/subscription').set(token.header).send({ plan: 'premium' });
    const next = expectReissued(response, { plan: 'premium' });
    await http().get('/premium/report').set(next.header).expect(200);

    await http().get('/premium/report').set(token.header).expect(200); // in its grace period
    clock.advance('30s');
    await expectDead(app, token, 'TOKEN_SUPERSEDED');
  });

  it('are closed to a token that has expired', async () => {
    const token = await tokenFor(app, 'alice', { plan: 'premium' }, { expired: true });
    const response = await http().get('/premium/report').set(token.header).expect(401);
    expect(response.body.code).toBe('TOKEN_EXPIRED');
  });

  it('end with the log-out, in every tab', async () => {
    const token = await tokenFor(app, 'alice');
    const otherTab = await tokenFor(app, 'alice', undefined, { session: token.claims });
    await http().post('/auth/logout').set(token.header).expect(200);
    await expectDead(app, otherTab, 'TOKEN_REVOKED');
  });

  it('do not change while the store cannot take it', async () => {
    const token = await tokenFor(app, 'bob');
    denyList.fail();
    await http().post('/subscription').set(token.header).send({ plan: 'premium' }).expect(503);
    denyList.recover();
    expectNotReissued(await http().get('/premium/report').set(token.header).expect(403));
  });

  it('end when the store has lost its entries', async () => {
    const token = await tokenFor(app, 'alice');
    denyList.lose();
    await expectDead(app, token, 'DENY_LIST_LOST');
  });
});
