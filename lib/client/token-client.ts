import { aheadOfExpiry } from './ahead-of-expiry.js';
import { authorizedFetch } from './authorized-fetch.js';
import { readClaims, type TokenClaims } from './claims.js';
import { holdSession } from './held-session.js';
import { createRefresher } from './refresher.js';
import type { Session } from './session.js';
import { lookAround } from './surroundings.js';
import type { FetchInput, TokenClientOptions } from './token-client.options.js';

/** What a log-in route answers (RFC 6749 §5.1). */
export interface SignInAnswer {
  readonly access_token?: string;
  readonly refresh_token?: string;
  /** Seconds. */
  readonly expires_in?: number;
}

/** A `fetch` with a token, and what that token says. See {@link createTokenClient}. */
export interface TokenClient<C extends object = Record<string, unknown>> {
  /**
   * Like the global `fetch`, which it calls, and free of `this`. Requests to own origins carry the
   * token, and the one that a response brings takes its place. Others, and those with an `Authorization`
   * of their own, go out as they are.
   *
   * A 401 that a new token may help against is answered by a refresh, one for all who wait, and the
   * request is sent again, POST as well: the guard has refused it before its handler ran. Where the
   * refresh route answers 503, you get that 503, and the tokens are kept.
   *
   * @throws what `fetch` throws, also where only the refresh route could not be reached
   */
  readonly fetch: (input: FetchInput, init?: RequestInit) => Promise<Response>;
  /**
   * What the token says; not verified, so to show and not to decide. The same object until the token is
   * replaced. `undefined`: nobody is signed in, or the token is in a cookie.
   */
  claims(): (TokenClaims & C) | undefined;
  /**
   * Starts a session, in all tabs, with the answer of the log-in route or the bare token. Only so does
   * the token of another session take the place of this one. With cookies: what the route answered, or
   * nothing.
   *
   * @throws TypeError where there is no token in it
   */
  signIn(answer?: SignInAnswer | string): void;
  /** Forgets the tokens, in all tabs. To end the session call your log-out route before. */
  signOut(): void;
  /**
   * Asks the refresh route for a new token now: after a change that came from elsewhere, or to see whether
   * a cookie still holds a session.
   *
   * @returns whether there is a newer token; `false` for a visitor, who is not told to log in
   * @throws what `fetch` throws where the route cannot be reached; the tokens are kept
   */
  refresh(): Promise<boolean>;
  /** Ends timers and the tie to other tabs. `fetch` goes on with what there is. */
  close(): void;
}

/**
 * Keeps the tokens of one session: a `fetch` that sends them, takes new ones from responses, refreshes
 * them, and keeps tabs in step. For browsers and Node.
 *
 * Import from `nestjs-jwt-state/client`; it needs nothing else.
 *
 * @example
 * ```ts
 * const client = createTokenClient({
 *   storage: () => localStorage,
 *   onClaimsChanged: (claims) => show(claims?.plan),
 *   onSignedOut: () => location.assign('/login'),
 * });
 * const answer = await fetch('/auth/login', { method: 'POST', body: new FormData(form) });
 * client.signIn(await answer.json());
 * await client.fetch('/subscription', { method: 'POST' }); // claims().plan is true from here on
 * ```
 *
 * @throws TypeError where there is neither a page nor `baseUrl`, or an option is not what it has to be;
 *   the message names it
 * @publicApi
 */
export function createTokenClient<C extends object = Record<string, unknown>>(
  options: TokenClientOptions<C> = {},
): TokenClient<C> {
  const { delivery: { cookie = false } = {}, refresh = {} } = options;
  const surroundings = lookAround(options);
  const held = holdSession(surroundings, options, plan);
  const renew = refresh ? createRefresher(surroundings, refresh, options, held) : undefined;
  const ahead = aheadOfExpiry(async () => typeof (await renew?.(true)) === 'function');

  function plan(session: Session) {
    if (refresh && refresh.ahead !== false) ahead.plan(session);
  }
  plan(held.sync());

  /** What this page holds may be a former user's. */
  const comeBack = () => {
    held.catchUp();
    const session = held.sync();
    plan(session);
    // Without a storage the cookie alone knows who is signed in, if no other tab does.
    const { cookie: isInCookie } = refresh || {};
    if (isInCookie && session.access && !options.storage) void renew?.(true);
  };
  const { listen } = surroundings;
  listen('pageshow', ({ persisted }: { persisted: boolean }) => persisted && comeBack());
  listen('resume', comeBack);
  listen('storage', () => held.sync());
  listen('online', ahead.retry);

  return {
    fetch: authorizedFetch(surroundings, options, held, renew),
    claims: held.claims as () => (TokenClaims & C) | undefined,
    signIn(answer = {}) {
      const tokens: SignInAnswer = typeof answer === 'string' ? { access_token: answer } : answer;
      const { access_token: access, refresh_token, expires_in } = tokens;
      const came = { at: Date.now(), life: expires_in };
      if (!cookie && !readClaims(access)) throw new TypeError('signIn() needs an access_token.');
      held.signIn(cookie ? came : { ...came, access, refresh: refresh_token });
    },
    signOut: held.signOut,
    async refresh() {
      const renewal = await renew?.(true, true);
      return typeof renewal === 'function' ? !renewal() : !!renewal;
    },
    close() {
      surroundings.close();
      ahead.close();
      held.close();
    },
  };
}
