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
}

/** Where a client works. Each other option has its default where it is used. */
export interface Surroundings {
  readonly name: string;
  readonly tabs: boolean;
  readonly locks: Locks | undefined;
  readonly fetch: (input: FetchInput, init?: RequestInit) => Promise<Response>;
  /** As the page would, or from `baseUrl`. @throws TypeError where there is neither */
  readonly resolve: (url: string | URL) => URL;
}

export function lookAround({
  name = 'jwt-state',
  baseUrl,
  tabs = !!(globalThis as Page).location,
  locks = tabs ? (globalThis as Page).navigator?.locks : undefined,
  // Looked up each time: what watches or replaces the global one may come late.
  fetch = (...request) => globalThis.fetch(...request),
}: Omit<TokenClientOptions, 'onClaimsChanged'>): Surroundings {
  const { document, location } = globalThis as Page;
  return {
    name,
    tabs,
    locks,
    fetch,
    resolve: (url) => new URL(url, baseUrl ?? document?.baseURI ?? location?.href),
  };
}

/** A timer, say, must not keep a Node process alive. */
export function unref(handle: unknown): void {
  (handle as { unref?(): void }).unref?.();
}
