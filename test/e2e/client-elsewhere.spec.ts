import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { build } from 'esbuild';
import { HttpProxy } from '../support/http-proxy.js';
import { ServiceProcess } from '../support/service-process.js';
import { SessionController } from '../support/session.controller.js';
import { closeApps, startApp, type TestApp } from '../support/test-app.js';
import { Workerd } from '../support/workerd.js';

const REFRESH = '/auth/refresh-token';

async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: process.cwd() },
    bundle: true,
    format: 'esm',
    write: false,
  });
  return outputFiles[0]?.text ?? '';
}

/** Runtimes that have less than a browser or Node. */
describe('The client elsewhere', () => {
  let app: TestApp;
  let proxy: HttpProxy;

  beforeEach(async () => {
    app = await startApp({
      controllers: [SessionController],
      options: { refresh: { tokens: { expiresIn: '1h' } } },
    });
    proxy = await HttpProxy.to(app.url);
  });
  afterEach(async () => {
    await proxy.close();
    await closeApps();
  });

  it('refreshes in a Cloudflare Worker, and follows no redirect there', async () => {
    const worker = await Workerd.start(
      await bundle(
        `import { createTokenClient } from './lib/client/index.ts';
        export default {
          async fetch(request) {
            if (request.method !== 'POST') return new Response('ready');
            const { baseUrl, answer } = await request.json();
            const client = createTokenClient({ baseUrl, refresh: { ahead: false } });
            client.signIn(answer);
            const said = (error) => String(error);
            const refreshed = await client.refresh().catch(said);
            const { status } = await client.fetch('/me');
            const { sub } = client.claims();
            return Response.json({ refreshed, status, sub, redirected: await client.refresh().catch(said) });
          },
        };`,
      ),
    );
    const foreign = await HttpProxy.to(app.url);
    try {
      const { accessToken, refreshToken } = await app.logInFor('alice');
      const answer = { access_token: accessToken, refresh_token: refreshToken };
      proxy.before(REFRESH, async () => {});
      // Behind the first, which goes on.
      for (let attempt = 0; attempt < 3; attempt++)
        proxy.answer(REFRESH, 307, { location: `${foreign.url}${REFRESH}` });
      const response = await fetch(worker.url, {
        method: 'POST',
        body: JSON.stringify({ baseUrl: proxy.url, answer }),
      });
      expect(await response.json()).toEqual({
        refreshed: true,
        status: 200,
        sub: 'alice',
        redirected: expect.stringContaining('The refresh route redirects'),
      });
      expect(foreign.seen).toEqual([]);
    } finally {
      await foreign.close();
      await worker.stop();
    }
  });

  it('works in jsdom, which has no channel', async () => {
    const { accessToken, refreshToken } = await app.logInFor('alice');
    const ANSWER = JSON.stringify({ access_token: accessToken, refresh_token: refreshToken });
    const env = { BASE_URL: proxy.url, ANSWER };
    const said = await ServiceProcess.finish('test/support/jsdom-process.ts', [], env);
    expect(JSON.parse(said)).toEqual({
      missing: ['BroadcastChannel'],
      status: 200,
      isRefreshed: true,
      stored: 'alice',
      signedOut: ['SIGNED_OUT'],
    });
  });
});
