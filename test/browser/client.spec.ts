import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Header } from '@nestjs/common';
import { build } from 'esbuild';
import type { JwtStateOptions } from 'nestjs-jwt-state';
import type { TokenClient, TokenClientOptions, TokenStorage } from 'nestjs-jwt-state/client';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launchBrowser } from '../support/browser.js';
import { HttpProxy } from '../support/http-proxy.js';
import { SessionController } from '../support/session.controller.js';
import { clock, closeApps, startApp, type TestApp } from '../support/test-app.js';

const REFRESH = '/auth/refresh-token';
let script = '';

/** A page that loads the client, and nothing else. */
@Controller()
class PageController {
  @Get('page')
  @Header('content-type', 'text/html')
  page() {
    return '<!doctype html><base href="/"><script type="module" src="/client.js"></script>';
  }

  @Get('client.js')
  @Header('content-type', 'text/javascript')
  script() {
    return script;
  }
}

// What the page's functions find around them.
declare global {
  var createTokenClient: (options: TokenClientOptions) => TokenClient;
  var tokenClient: TokenClient;
  var reasonsTold: string[];
}

describe('The client in a browser', () => {
  let browser: Browser;
  let context: BrowserContext;
  let app: TestApp;
  let proxy: HttpProxy;

  beforeAll(async () => {
    const { outputFiles } = await build({
      stdin: {
        contents:
          "import { createTokenClient } from './lib/client/index.ts'; globalThis.createTokenClient = createTokenClient;",
        resolveDir: process.cwd(),
      },
      bundle: true,
      minify: true,
      format: 'esm',
      write: false,
    });
    script = outputFiles[0]?.text ?? '';
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  beforeEach(async () => {
    context = await browser.newContext();
  });
  afterEach(async () => {
    await context.close();
    await proxy.close();
    await closeApps();
  });

  async function start(options: Partial<JwtStateOptions> = {}): Promise<void> {
    app = await startApp({
      controllers: [SessionController, PageController],
      options: { refresh: { tokens: { expiresIn: '1h' } }, ...options },
    });
    proxy = await HttpProxy.to(app.url);
  }

  type Kind = 'local storage' | 'memory' | 'cookies';

  async function tab(kind: Kind): Promise<Page> {
    const page = await context.newPage();
    await load(page, kind);
    return page;
  }

  async function load(page: Page, kind: Kind): Promise<void> {
    await page.goto(`${proxy.url}/page`);
    await page.waitForFunction(() => globalThis.createTokenClient !== undefined);
    await page.evaluate((how) => {
      globalThis.reasonsTold = [];
      globalThis.tokenClient = createTokenClient({
        ...(how === 'local storage' && {
          storage: () => (globalThis as unknown as { localStorage: TokenStorage }).localStorage,
        }),
        ...(how === 'cookies' && { delivery: { cookie: true } }),
        refresh: { ahead: false, cookie: how === 'cookies' },
        onSignedOut: (reason) => globalThis.reasonsTold.push(reason),
      });
    }, kind);
  }

  const logIn = (page: Page, user = 'alice') =>
    page.evaluate(async (name) => {
      const answer = await fetch('login', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ user: name }),
      });
      tokenClient.signIn((await answer.json()) as object);
    }, user);
  const sub = (page: Page) => page.evaluate(() => tokenClient.claims()?.sub);
  const plan = (page: Page) => page.evaluate(() => tokenClient.claims()?.plan);
  const told = (page: Page) => page.evaluate(() => globalThis.reasonsTold);
  /** The address is seen from the page's base, as `fetch` does. */
  const get = (page: Page, path = 'me') =>
    page.evaluate(async (address) => (await tokenClient.fetch(address)).status, path);
  const settled = (page: Page, claim: string, value: unknown) =>
    page.waitForFunction(
      ([name, wanted]) => tokenClient.claims()?.[name as string] === wanted,
      [claim, value],
    );

  it('keeps tabs in step, over channel and storage', async () => {
    await start();
    const [one, two] = [await tab('local storage'), await tab('local storage')];
    await logIn(one);
    await settled(two, 'sub', 'alice');
    await app.change('alice', { plan: 'premium' });
    expect(await get(two)).toBe(200);
    await settled(one, 'plan', 'premium');
    await load(one, 'local storage');
    expect(await plan(one)).toBe('premium');
    await one.evaluate(() => tokenClient.signOut());
    await two.waitForFunction(() => globalThis.reasonsTold.length > 0);
    expect(await told(two)).toEqual(['SIGNED_OUT']);
  });

  it('keeps tabs in step that have nothing but memory', async () => {
    await start();
    const [one, two] = [await tab('memory'), await tab('memory')];
    await logIn(one);
    await settled(two, 'sub', 'alice');
    await load(two, 'memory');
    expect(await sub(two)).toBeUndefined();
  });

  it('refreshes once for three tabs, by Web Locks', async () => {
    await start();
    const tabs = [
      await tab('local storage'),
      await tab('local storage'),
      await tab('local storage'),
    ];
    await logIn(tabs[0] as Page);
    for (const one of tabs) await settled(one, 'sub', 'alice');
    clock.advance('16m');
    expect(await Promise.all(tabs.map((one) => get(one)))).toEqual([200, 200, 200]);
    expect(proxy.count(REFRESH)).toBe(1);
  });

  it('works with cookies that no script can read', async () => {
    await start({
      delivery: { cookie: { secure: false } },
      refresh: { tokens: { cookie: { secure: false } } },
    });
    const page = await tab('cookies');
    await page.evaluate(async () => {
      await tokenClient.fetch('login-by-cookies', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"user":"alice"}',
      });
      tokenClient.signIn();
    });
    expect(await get(page)).toBe(200);
    const readable = () =>
      (globalThis as unknown as { document: { cookie: string } }).document.cookie;
    expect(await page.evaluate(readable)).toBe('');
    await context.clearCookies({ name: 'token' });
    expect(await get(page)).toBe(200);
    expect(proxy.count(REFRESH)).toBe(1);
    await context.clearCookies();
    expect(await get(page)).toBe(401);
    expect(await told(page)).toEqual(['INVALID_REQUEST']);
  });

  it('does not show the token behind a redirect to another origin', async () => {
    await start();
    const foreign = await HttpProxy.to(app.url);
    const page = await tab('memory');
    await logIn(page);
    const cors = { 'access-control-allow-origin': '*', 'access-control-allow-headers': '*' };
    proxy.answer('/me', 302, { location: `${foreign.url}/there` });
    foreign.answer('/there', 200, cors);
    foreign.answer('/there', 200, cors);
    expect(await get(page)).toBe(200);
    expect(foreign.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    await foreign.close();
  });

  it('goes on in memory where the storage is forbidden', async () => {
    await start();
    const page = await tab('memory');
    await page.evaluate(() => {
      globalThis.tokenClient = createTokenClient({
        name: 'forbidden',
        storage: () => {
          throw new Error('SecurityError');
        },
      });
    });
    await logIn(page);
    expect(await get(page)).toBe(200);
  });
});
