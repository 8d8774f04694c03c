import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Header, type INestApplication } from '@nestjs/common';
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

  async function start(
    options: Partial<JwtStateOptions> = {},
    prepare: (app: INestApplication) => void = () => {},
  ): Promise<void> {
    app = await startApp({
      controllers: [SessionController, PageController],
      options: { refresh: { tokens: { expiresIn: '1h' } }, ...options },
      prepare,
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
    // A page that was loaded anew says hello, and is heard from then on.
    await load(two, 'memory');
    await settled(two, 'sub', 'alice');
    await app.change('alice', { plan: 'premium' });
    expect(await get(two)).toBe(200);
    await settled(one, 'plan', 'premium');
    await two.evaluate(() => tokenClient.signOut());
    await one.waitForFunction(() => globalThis.reasonsTold.length > 0);
    expect(await told(one)).toEqual(['SIGNED_OUT']);
  });

  describe('with a refresh cookie and no storage', () => {
    const COOKIE: Partial<JwtStateOptions> = { refresh: { tokens: { cookie: { secure: false } } } };
    const cookieTab = async () => {
      const page = await tab('memory');
      await page.evaluate(() => {
        tokenClient.close();
        globalThis.tokenClient = createTokenClient({
          refresh: { ahead: false, cookie: true },
          onSignedOut: (reason) => globalThis.reasonsTold.push(reason),
        });
      });
      return page;
    };

    it('follows a new user, whom an old page does not sign out', async () => {
      await start(COOKIE);
      const [one, two] = [await cookieTab(), await cookieTab()];
      await logIn(one);
      await settled(two, 'sub', 'alice');
      const three = await cookieTab();
      await logIn(three, 'bob');
      for (const page of [one, two]) await settled(page, 'sub', 'bob');
      expect(await get(one)).toBe(200);
      for (const page of [one, two, three])
        expect([await sub(page), await told(page)]).toEqual(['bob', []]);
    });

    it('asks whose cookie it is where the browser brings a page back', async () => {
      await start(COOKIE);
      const page = await cookieTab();
      await logIn(page);
      // Another user has logged in with a page that is gone.
      await page.evaluate(async () => {
        const headers = { 'content-type': 'application/json' };
        await fetch('login', { method: 'POST', headers, body: '{"user":"bob"}' });
        const restored = new Event('pageshow');
        Object.defineProperty(restored, 'persisted', { value: true });
        (globalThis as unknown as EventTarget).dispatchEvent(restored);
      });
      await page.waitForFunction(() => globalThis.reasonsTold.length > 0);
      expect(await told(page)).toEqual(['SESSION_REPLACED']);
      expect(await sub(page)).toBeUndefined();
    });
  });

  it('looks into its storage where the browser brings a page back', async () => {
    await start();
    const page = await tab('local storage');
    await logIn(page);
    await page.evaluate(() => {
      const { localStorage } = globalThis as unknown as { localStorage: Record<string, string> };
      const [key = ''] = Object.keys(localStorage);
      const now = Date.now() + 1_000;
      localStorage[key] = JSON.stringify({ turn: now, at: now, out: 'SIGNED_OUT', sid: '~' });
      const restored = new Event('pageshow');
      Object.defineProperty(restored, 'persisted', { value: true });
      (globalThis as unknown as EventTarget).dispatchEvent(restored);
    });
    expect(await told(page)).toEqual(['SIGNED_OUT']);
  });

  it('refreshes where it did before, whatever <base> is injected', async () => {
    await start();
    const foreign = await HttpProxy.to(app.url);
    const page = await tab('memory');
    await logIn(page);
    const isRefreshed = await page.evaluate((href) => {
      // biome-ignore lint/suspicious/noExplicitAny: the page has a document, and this file no DOM types
      const { document } = globalThis as any;
      document.querySelector('base').href = href;
      return tokenClient.refresh();
    }, foreign.url);
    expect(isRefreshed).toBe(true);
    expect(foreign.seen).toEqual([]);
    await foreign.close();
  });

  it('begins in a frame that may use neither storage, locks nor cookies', async () => {
    await start();
    const page = await tab('memory');
    const result = await page.evaluate(async (source) => {
      // biome-ignore lint/suspicious/noExplicitAny: the page has a document, and this file no DOM types
      const { document, window } = globalThis as any;
      const frame = document.createElement('iframe');
      frame.sandbox = 'allow-scripts';
      frame.srcdoc = `<script type="module">${source}
        const client = createTokenClient({
          baseUrl: ${JSON.stringify(document.baseURI)},
          storage: () => localStorage,
          fetch: async () => Response.json({ access_token: 'e30.eyJzaWQiOiJzIiwianRpIjoiaiIsInNlZW4iOnt9fQ.x' }),
          refresh: { cookie: true },
        });
        parent.postMessage([await client.refresh(), client.claims()?.sid], '*');
      </script>`;
      const said = new Promise((resolve) => {
        window.addEventListener('message', ({ data }: { data: unknown }) => resolve(data));
      });
      document.body.append(frame);
      return said;
    }, script);
    expect(result).toEqual([true, 's']);
  });

  it('does not show one user what the browser has kept of another', async () => {
    await start({}, (nest) => {
      nest.use((_: IncomingMessage, response: ServerResponse, next: () => void) => {
        response.setHeader('Cache-Control', 'max-age=600');
        next();
      });
    });
    const page = await tab('memory');
    const me = () =>
      page.evaluate(
        async () => ((await (await tokenClient.fetch('me')).json()) as { sub: string }).sub,
      );
    await logIn(page);
    expect([await me(), await me()]).toEqual(['alice', 'alice']);
    await logIn(page, 'bob');
    expect(await me()).toBe('bob');
  });

  it('takes no CSRF header along to where a redirect leads', async () => {
    await start();
    const foreign = await HttpProxy.to(app.url);
    const page = await tab('memory');
    proxy.answer('/form', 307, { location: `${foreign.url}/form` });
    const type = await page.evaluate(async () => {
      globalThis.tokenClient = createTokenClient({
        name: 'csrf',
        csrf: (headers) => headers.set('x-csrf', 'of this page'),
      });
      return (await tokenClient.fetch('form', { method: 'POST' })).type;
    });
    expect(type).toBe('opaqueredirect');
    expect(foreign.seen).toEqual([]);
    await foreign.close();
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

  it('lets none of twenty parallel requests fail across a change, and there is one successor', async () => {
    await start();
    const page = await tab('memory');
    await logIn(page);
    const successors = new Set<string>();
    app.events.on('reissued', ({ jti }) => void successors.add(jti));
    const statuses = await page.evaluate(async () => {
      const ask = () => tokenClient.fetch('me').then(({ status }) => status);
      const before = Array.from({ length: 10 }, ask);
      const change = tokenClient.fetch('plan', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"plan":"premium"}',
      });
      const during = Array.from({ length: 10 }, ask);
      return Promise.all([...before, change.then(({ status }) => status), ...during]);
    });
    expect(statuses).toEqual([...Array(10).fill(200), 201, ...Array(10).fill(200)]);
    expect(await plan(page)).toBe('premium');
    expect(await get(page)).toBe(200);
    // Whoever met the mark of the change while it was pending may have been given one more on the way.
    const held = await page.evaluate(() => tokenClient.claims()?.jti);
    expect([...successors].sort().at(-1)).toBe(held);
    expect(successors.size).toBeLessThanOrEqual(2);
  });

  it('goes on where the page was loaded anew in the middle of a refresh', async () => {
    await start();
    const page = await tab('local storage');
    await logIn(page);
    clock.advance('16m');
    const way = proxy.holdAnswer(REFRESH);
    await page.evaluate(() => void tokenClient.fetch('me').catch(() => {}));
    await way.arrived();
    // The server has made the new pair, and the page that asked for it is gone.
    await load(page, 'local storage');
    way.release();
    clock.advance('5m');
    expect(await get(page)).toBe(200);
    expect(await sub(page)).toBe('alice');
    expect(await told(page)).toEqual([]);
    expect(proxy.count(REFRESH)).toBe(2);
  });

  it('keeps its session where the answer of a change never arrives', async () => {
    await start();
    const page = await tab('memory');
    await logIn(page);
    proxy.drop('/plan');
    const outcome = await page.evaluate(() =>
      tokenClient
        .fetch('plan', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"plan":"premium"}',
        })
        .then(
          () => 'answered',
          (error: Error) => error.name,
        ),
    );
    expect(outcome).toBe('TypeError');
    // What has happened shows in the next answer.
    expect(await plan(page)).toBe('free');
    expect(await get(page)).toBe(200);
    expect(await plan(page)).toBe('premium');
  });

  it('reads the new token across origins, where the server permits the origin', async () => {
    await start({}, (nest) => nest.enableCors({ origin: true, maxAge: 60 }));
    const page = await tab('memory');
    // The page is from the way; the service itself is another origin to it.
    const service = app.url;
    await page.evaluate((baseUrl) => {
      globalThis.tokenClient = createTokenClient({ name: 'other', baseUrl });
    }, service);
    await page.evaluate(async (address) => {
      const answer = await fetch(`${address}/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"user":"alice"}',
      });
      tokenClient.signIn((await answer.json()) as object);
    }, service);
    expect(new URL(service).origin).not.toBe(new URL(page.url()).origin);
    await app.change('alice', { plan: 'premium' });
    expect(await get(page, `${service}/me`)).toBe(200);
    expect(await plan(page)).toBe('premium');
  });

  it('shows with cookies that it is no forged request, and a forged one is refused', async () => {
    await start({ delivery: { cookie: { secure: false } }, refresh: {} }, (nest) => {
      nest.use(refuseForged);
    });
    const page = await tab('cookies');
    const send = (csrf: boolean) =>
      page.evaluate(async (isOurs) => {
        globalThis.tokenClient = createTokenClient({
          name: 'csrf',
          delivery: { cookie: true },
          refresh: { ahead: false },
          ...(isOurs && { csrf: (headers: Headers) => headers.set('x-csrf', 'of this page') }),
        });
        const post = (path: string, body: string) =>
          tokenClient.fetch(path, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body,
          });
        if (isOurs) await post('login-by-cookies', '{"user":"alice"}');
        return (await post('plan', '{"plan":"premium"}')).status;
      }, csrf);
    expect(await send(true)).toBe(201);
    // The browser sends the cookie along by itself: that alone must not do.
    app.users.set('alice', { plan: 'free' });
    expect(await send(false)).toBe(403);
    expect(await app.users.claims('alice', undefined)).toMatchObject({ plan: 'free' });
    expect(proxy.seen.at(-1)?.headers.cookie).toMatch(/^token=/);
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

/** What an application has to do where cookies carry tokens and `SameSite` is not enough. */
function refuseForged(
  { method, headers }: IncomingMessage,
  response: ServerResponse,
  next: () => void,
): void {
  if (method === 'GET' || headers['x-csrf'] === 'of this page') next();
  else response.writeHead(403).end();
}
