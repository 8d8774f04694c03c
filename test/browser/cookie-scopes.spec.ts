import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { CookieOptions } from 'nestjs-jwt-state';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { CHROMIUM } from '../support/browser.js';
import { SessionController } from '../support/session.controller.js';
import { closeApps, startApp, type TestApp } from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';

/*
 * A cookie's domain was changed in production, as a browser sees it: an application before the change, and
 * after it, under one host name.
 */

describe('A browser with cookies of a former domain', () => {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let store: TestStore;

  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--host-resolver-rules=MAP *.shop.example 127.0.0.1'],
    });
  });
  afterAll(() => browser.close());

  beforeEach(async () => {
    store = TestStore.create('memory');
    context = await browser.newContext();
    page = await context.newPage();
  });
  afterEach(async () => {
    await context.close();
    await closeApps();
  });

  const start = (more: CookieOptions) =>
    startApp({
      store,
      controllers: [SessionController],
      options: {
        delivery: { cookie: { secure: false, ...more } },
        refresh: { tokens: { cookie: { secure: false, ...more } } },
      },
    });
  const open = (app: TestApp) =>
    page.goto(`${app.url.replace('127.0.0.1', 'api.shop.example')}/me`);
  const send = (method: 'GET' | 'POST', path: string, body?: object) =>
    page.evaluate(
      async ([how, where, content]) => {
        const headers = { 'content-type': 'application/json' };
        const answer = await fetch(where as string, {
          method: how as string,
          ...(content !== undefined && { headers, body: JSON.stringify(content) }),
        });
        return answer.status;
      },
      [method, path, body] as const,
    );
  const logIn = (user: string) => send('POST', '/login-by-cookies', { user });
  const cookies = async () =>
    (await context.cookies()).map(({ name, domain }) => `${name} ${domain}`).sort();

  const OF_DOMAIN = ['refresh-token .shop.example', 'token .shop.example'];
  const OF_HOST = ['refresh-token api.shop.example', 'token api.shop.example'];

  async function signedInBefore(): Promise<void> {
    await open(await start({ domain: 'shop.example' }));
    expect(await logIn('alice')).toBe(204);
    expect(await cookies()).toEqual(OF_DOMAIN);
  }

  it('goes on with its session, and keeps the new ones only', async () => {
    await signedInBefore();
    await open(await start({ former: [{ domain: 'shop.example' }] }));
    expect(await send('GET', '/me')).toBe(200);
    expect(await send('POST', '/auth/refresh-token')).toBe(200);
    expect(await cookies()).toEqual(OF_HOST);
    expect(await send('GET', '/me')).toBe(200);
    expect(await send('POST', '/leave')).toBe(200);
    expect(await cookies()).toEqual([]);
  });

  it('and two living sessions is told 400 once for each, where former scopes are named', async () => {
    await signedInBefore();
    await open(await start({}));
    expect(await logIn('bob')).toBe(204);
    expect(await send('GET', '/me')).toBe(400);
    expect(await cookies()).toEqual([...OF_DOMAIN, ...OF_HOST].sort());
    const answer = await open(await start({ former: [{ domain: 'shop.example' }] }));
    expect(answer?.status()).toBe(400);
    expect(await send('GET', '/me')).toBe(200);
    expect(await send('POST', '/auth/refresh-token')).toBe(400);
    expect(await send('POST', '/auth/refresh-token')).toBe(200);
    expect(await cookies()).toEqual(OF_HOST);
  });

  it('is not shut out where they are not named: by one session, nor by one that has ended', async () => {
    await signedInBefore();
    await open(await start({}));
    expect(await send('POST', '/auth/refresh-token')).toBe(200);
    expect(await cookies()).toEqual([...OF_DOMAIN, ...OF_HOST].sort());
    expect(await send('GET', '/me')).toBe(200);
    expect(await send('POST', '/auth/refresh-token')).toBe(200);
    expect(await send('POST', '/leave')).toBe(200);
    expect(await cookies()).toEqual(OF_DOMAIN);
    expect(await logIn('bob')).toBe(204);
    expect(await send('GET', '/me')).toBe(200);
    expect(await send('POST', '/auth/refresh-token')).toBe(200);
  });
});
