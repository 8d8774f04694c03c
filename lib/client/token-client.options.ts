import type { TokenClaims } from './claims.js';
import type { Locks } from './surroundings.js';

export type FetchInput = string | URL | Request;

/** `localStorage`, `sessionStorage`, or anything with these two. */
export interface TokenStorage {
  getItem(name: string): string | null;
  setItem(name: string, text: string): void;
}

/** How tokens travel; as `delivery` says on the server. */
export interface ClientDeliveryOptions {
  /**
   * The response header that brings a new token: `Authorization` holds `Bearer <token>`, any other the
   * bare token. `false`: none. Requests carry theirs in `Authorization` always. Default:
   * `'Authorization'`.
   */
  header?: string | false;
  /**
   * The field of JSON answers that brings a new token. Answers of own origins are then read to their
   * end before you get them. Default: `false`.
   */
  body?: string | false;
  /**
   * The access token lies in an HttpOnly cookie: requests go with `credentials: 'include'` and without
   * a token, and there are no {@link TokenClient.claims}. Default: `false`.
   */
  cookie?: boolean;
}

export interface ClientRefreshOptions {
  /**
   * The refresh route, of one of the origins; resolved when the client is created. Default:
   * `/auth/refresh-token`, seen from `baseUrl`.
   */
  url?: string;
  /** The refresh token lies in an HttpOnly cookie. Default: `false`: it came with the log-in. */
  cookie?: boolean;
  /**
   * Whether tokens are replaced before they expire, when 75 to 90 percent of their lifetime is over. By
   * a lifetime that the server named, so that the device's clock may be wrong. Default: `true`.
   */
  ahead?: boolean;
  /** How long one attempt may take, in milliseconds. Default: `10000`. */
  timeout?: number;
}

/** The options of {@link createTokenClient}. None of them has to be set in a page. */
export interface TokenClientOptions<C extends object = Record<string, unknown>> {
  /**
   * What relative addresses are seen from, `http` or `https`. Default: the page; Node has none and needs it.
   */
  baseUrl?: string | URL;
  /**
   * The origins that get the token, and from which tokens are taken, such as `https://api.example.com`.
   * Default: that of `baseUrl`, or of the page.
   */
  origins?: readonly string[];
  delivery?: ClientDeliveryOptions;
  /** `false`: there is no refresh route. */
  refresh?: ClientRefreshOptions | false;
  /**
   * Sets the header that tells a request of your page from a forged one. Called for requests to own
   * origins other than GET, and for a refresh. Such a request follows no redirect, which would carry the
   * header to another origin; you get the redirect itself. Default: none.
   *
   * @example
   * ```ts
   * csrf: (headers) => headers.set('X-CSRF-Token', document.querySelector('meta[name=csrf]').content)
   * ```
   */
  csrf?: (headers: Headers) => void;
  /**
   * Where tokens outlive the page, such as `() => localStorage`: a function, since that itself can throw.
   * Where it fails, tokens are kept in memory. Default: only in memory.
   */
  storage?: () => TokenStorage;
  /**
   * The name in the storage and between tabs, together with origins and refresh route; one for each session
   * in a page. Default: `jwt-state`.
   */
  name?: string;
  /**
   * Whether clients of this name keep in step: tabs of one origin, by BroadcastChannel and Web Locks.
   * Default: `true` in a page or worker of a browser, `false` elsewhere: one process of a server has many
   * users.
   */
  tabs?: boolean;
  /** In the place of `navigator.locks`. */
  locks?: Locks;
  /** In the place of the global `fetch`. */
  fetch?: (input: FetchInput, init?: RequestInit) => Promise<Response>;
  /**
   * The token says something else than before: after a state change, a sign-in, a sign-out, in whichever
   * tab. New ids and times alone are no change. `undefined`: nobody is signed in.
   */
  onClaimsChanged?: (
    claims: (TokenClaims & C) | undefined,
    previous: (TokenClaims & C) | undefined,
  ) => void;
  /**
   * The user has to log in, once for each session that ends. Not where {@link TokenClient.refresh} finds that
   * a visitor has no session. The reason is the code of the answer
   * (`TOKEN_REVOKED`, `INVALID_GRANT` …), `SIGNED_OUT`, or `SESSION_REPLACED`: the refresh cookie is
   * another session's by now.
   */
  onSignedOut?: (reason: string) => void;
}
