import { jsonOf, OUTDATED, OVER } from './answers.js';
import type { HeldSession } from './held-session.js';
import { isSame, type Session } from './session.js';
import type { Surroundings } from './surroundings.js';
import type { ClientRefreshOptions, TokenClientOptions } from './token-client.options.js';

const ATTEMPTS = 3;
/** Who is told to wait longer does that himself. Seconds. */
const LONGEST_WAIT = 10;

/**
 * How it ended. `true`: there is a newer token. `false`: there is none to be had, and the session may
 * have ended. A function: the server is in trouble or cannot be reached, all stays as it was, and this
 * answers or throws what came of it.
 */
export type Renewal = boolean | (() => Response);

/**
 * Asks for a token in the place of the one that is held. `undefined`: there is nothing to ask with.
 * @param isAlive whether the access token can still show who asks
 */
export type Refresher = (isAlive: boolean) => Promise<Renewal> | undefined;

/** What the route answers: a token (RFC 6749 §5.1), or why not. */
interface Answer {
  access_token?: string;
  refresh_token?: string;
  expires_in?: number;
  code: string;
}

/**
 * Goes to the refresh route: once for all who wait, and in one tab at a time.
 * @param accessCookie whether the access token lies in one, as the refresh token may
 */
export function createRefresher(
  { fetch, resolve, locks, name }: Surroundings,
  { url = '/auth/refresh-token', cookie: refreshCookie, timeout = 10_000 }: ClientRefreshOptions,
  accessCookie: boolean,
  csrf: TokenClientOptions['csrf'],
  held: HeldSession,
): Refresher {
  let flight: Promise<Renewal> | undefined;
  let turnOfFlight: number | undefined;

  const exchange = async (refused: Session): Promise<Renewal> => {
    // Another tab may have been faster, or the user has signed out while this waited.
    for (let attempt = 1; isSame(held.sync(), refused); attempt++) {
      let wait = 1;
      let trouble: () => Response;
      try {
        const response = await ask();
        const { status, ok } = response;
        if (status < 500 && status !== 429) {
          settle(refused, ok, await (ok ? response.json() : jsonOf(response)));
          break;
        }
        // A date (RFC 9110 §10.2.3), or what CORS hides, is a second.
        wait = Number(response.headers.get('retry-after')) || 1;
        trouble = () => response.clone();
      } catch (error) {
        // The answer may have got lost on its way: the same refresh token leads to the same successor.
        trouble = () => {
          throw error;
        };
      }
      if (attempt === ATTEMPTS || wait > LONGEST_WAIT) return trouble;
      await new Promise((resolve) => setTimeout(resolve, wait * 1_000));
    }
    const now = held.sync();
    return now.turn === refused.turn && !isSame(now, refused);
  };

  const ask = () => {
    const { refresh, access } = held.sync();
    const headers = new Headers();
    csrf?.(headers);
    const byCookie = accessCookie || refreshCookie;
    if (!refresh && !byCookie) headers.set('authorization', `Bearer ${access}`);
    return fetch(resolve(url), {
      method: 'POST',
      headers,
      // As a form, as RFC 6749 §6 has it; across origins that needs no preflight.
      body: refresh && new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh }),
      credentials: byCookie ? 'include' : 'same-origin',
      // A refresh token in a body would follow a redirect to wherever it leads.
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
  };

  const settle = (refused: Session, isOk: boolean, answer: unknown) => {
    const { access_token: access, refresh_token, expires_in: life, code } = answer as Answer;
    const { turn, at } = refused;
    if (!isOk) {
      // Where only a cookie could have shown who asks, "bad request" says that there is none.
      const isNobody = refreshCookie && code === 'INVALID_REQUEST';
      if (OVER.test(code) || OUTDATED.test(code) || isNobody) held.end(refused, code);
    } else if (accessCookie) {
      held.change({ turn, at: Math.max(Date.now(), at + 1), life });
    } else {
      held.adopt(refused, { access, refresh: refresh_token, at: Date.now(), life }, true);
      // Unless it was: the cookie was another session's.
      held.end(refused, 'SESSION_REPLACED');
    }
  };

  return (isAlive) => {
    const refused = held.sync();
    const { turn, refresh, access, out } = refused;
    if (out || !(refresh || refreshCookie || (isAlive && (access || accessCookie))))
      return undefined;
    // What a former user still waits for is nothing to this one.
    if (turn !== turnOfFlight) flight = undefined;
    turnOfFlight = turn;
    const run = () => exchange(refused);
    // A tab that sleeps may hold the lock. The server leads two who ask at once to one successor.
    const signal = AbortSignal.timeout(ATTEMPTS * timeout);
    flight ??= locks ? locks.request(`${name}:refresh`, { signal }, run).catch(run) : run();
    return flight.finally(() => {
      flight = undefined;
    });
  };
}
