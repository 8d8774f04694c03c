import { build } from 'esbuild';
import type { TokenClient, TokenClientOptions } from 'nestjs-jwt-state/client';

// A page in jsdom that has a client. In a process of its own: Jest cannot load jsdom's ES modules.
const { JSDOM } = await import('jsdom' as string);
const contents =
  "import { createTokenClient } from './lib/client/index.ts'; window.create = createTokenClient;";
const { outputFiles } = await build({
  stdin: { contents, resolveDir: process.cwd() },
  bundle: true,
  write: false,
});
const url = `${process.env.BASE_URL}/page`;
const { window } = new JSDOM('', { url, runScripts: 'outside-only' });
// jsdom has no fetch; tests that need one bring it. Node's own, from 24 on, takes no signal of jsdom's.
const pageFetch = (input: string | Request, { signal, ...init }: RequestInit = {}) => {
  const controller = new AbortController();
  signal?.addEventListener('abort', () => controller.abort());
  return fetch(input, { ...init, signal: controller.signal });
};
Object.assign(window, { fetch: pageFetch, Request, Response, Headers });
window.eval(outputFiles[0]?.text);
const { create } = window as { create(options: TokenClientOptions): TokenClient };

const signedOut: string[] = [];
const storage = () => window.localStorage;
const client = create({ storage, onSignedOut: (reason) => signedOut.push(reason) });
client.signIn(JSON.parse(process.env.ANSWER ?? ''));
const result = {
  missing: ['BroadcastChannel', 'TextDecoder'].filter((name) => !(name in window)),
  status: (await client.fetch('/me')).status,
  isRefreshed: await client.refresh(),
  stored: create({ storage }).claims()?.sub,
  signedOut,
};
client.signOut();
console.log(JSON.stringify(result));
process.exit();
