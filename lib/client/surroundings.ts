import type { FetchInput, TokenClientOptions } from './token-client.options.js';

/** The part of Web Locks that is used here. */
export interface Locks {
  request<T>(name: string, options: { signal?: AbortSignal }, run: () => Promise<T>): Promise<T>;
}

/** What a page has, and Node has not, or not in every version. */
interface Page {
  readonly document?: { readonly baseURI: string };
  readonly location?: { readonly href: string };
  readonly navigator?: { readonly locks?: Locks };
  readonly importScripts?: unknown;
  readonly process?: { readonly versions?: { readonly node?: string } };
  addEventListener?(type: string, listener: (event: never) => void, options: object): void;
}

/** Where a client works. Each other option has its default where it is used. */
export interface Surroundings {
  /** A page or a worker of a browser. */
  readonly isPage: boolean;
  /** The name, and what the tokens under it are for: another configuration never reads them. */
  readonly key: string;
  readonly tabs: boolean;
  readonly locks: Locks | undefined;
  readonly fetch: (input: FetchInput, init?: RequestInit) => Promise<Response>;
  /** As the page would, or from `baseUrl`. */
  readonly resolve: (url: string | URL) => URL;
  /** Whether tokens may go there. */
  readonly isOwn: (url: string) => boolean;
  /** Resolved once: a `<base>` that is injected later must not lead the refresh token elsewhere. */
  readonly refreshUrl: string | undefined;
  readonly listen: (type: string, listener: (event: never) => void) => void;
  readonly close: () => void;
}

/** @throws TypeError where an option is not what it has to be */
export function lookAround({
  name = 'jwt-state',
  baseUrl,
  origins,
  delivery,
  refresh = {},
  storage,
  tabs,
  locks,
  // Looked up each time: what watches or replaces the global one may come late.
  fetch = (...request) => globalThis.fetch(...request),
}: Omit<TokenClientOptions, 'onClaimsChanged'>): Surroundings {
  const page = globalThis as Page;
  const { document, location } = page;
  // Servers that render have some of this, and one process for all users.
  const isPage = !!location && !!(document ?? page.importScripts) && !page.process?.versions?.node;
  const base = baseUrl === undefined ? undefined : webAddress('baseUrl', baseUrl, location?.href);
  const home = base?.href ?? location?.href;
  if (!home) throw new TypeError('baseUrl is missing: there is no page.');
  if (storage && typeof storage !== 'function')
    throw new TypeError('storage must be a function: () => localStorage.');

  const own = (origins ?? [webAddress('baseUrl', home)]).map(
    (origin) => webAddress('origins', origin).origin,
  );
  const refreshUrl = refresh
    ? webAddress('refresh.url', refresh.url ?? '/auth/refresh-token', home)
    : undefined;
  if (refreshUrl && !own.includes(refreshUrl.origin))
    throw new TypeError(`refresh.url: "${refreshUrl}" is none of the origins (${own.join(', ')}).`);

  const closed = new AbortController();
  return {
    isPage,
    key: [name, delivery?.cookie ? 'cookie' : 'token', refreshUrl, ...own.sort()].join(' '),
    tabs: tabs ?? isPage,
    locks: locks ?? ((tabs ?? isPage) ? page.navigator?.locks : undefined),
    fetch,
    resolve: (url) => new URL(url, base ?? document?.baseURI ?? home),
    isOwn: (url) => own.includes(new URL(url).origin),
    refreshUrl: refreshUrl?.href,
    listen(type, listener) {
      if (isPage) page.addEventListener?.(type, listener, { signal: closed.signal, capture: true });
    },
    close: () => closed.abort(),
  };
}

/** Opaque origins are all called `null`, and are nobody's. */
function webAddress(option: string, url: string | URL, base?: string): URL {
  try {
    const address = new URL(url, base);
    if (/^https?:$/.test(address.protocol)) return address;
  } catch {
    // It is said below.
  }
  throw new TypeError(`${option}: "${url}" must be an address like "https://api.example.com".`);
}

/** A timer, say, must not keep a Node process alive. */
export function unref(handle: unknown): void {
  (handle as { unref?(): void }).unref?.();
}

/** `AbortSignal.timeout()`, which React Native has not. */
export function timeLimit(milliseconds: number): AbortSignal {
  const controller = new AbortController();
  const error = new Error(`timeout: no answer within ${milliseconds} ms`);
  error.name = 'TimeoutError';
  unref(setTimeout(() => controller.abort(error), milliseconds));
  return controller.signal;
}
