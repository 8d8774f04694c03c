import { codeOf, isJson, jsonOf, OUTDATED, OVER, tokenIn } from './answers.js';
import type { HeldSession } from './held-session.js';
import { continues, isSame, NOBODY, nextTurn, type Session, sidOf } from './session.js';
import { type Surroundings, timeLimit } from './surroundings.js';
import type { ClientRefreshOptions, TokenClientOptions } from './token-client.options.js';

const ATTEMPTS = 3;
/** Who is told to wait longer does that himself. Seconds. */
const LONGEST_WAIT = 10;
/** For a lock that was not to be had before. Milliseconds. */
const SHORT_PATIENCE = 100;

/**
 * How it ended. `true`: there is a newer token. `false`: there is none to be had, and the session may
 * have ended. A function: the server is in trouble or cannot be reached, all stays as it was, and this
 * answers or throws what came of it.
 */
export type Renewal = boolean | (() => Response);

/**
 * Asks for a token in the place of the one that is held. `undefined`: there is nothing to ask with.
 * @param isAlive whether the access token can still show who asks
 * @param isWish the application's: a cookie is asked for again, and a visitor who has none is not told
 */
export type Refresher = (
  isAlive: boolean,
  isWish?: boolean,
) => Promise<Renewal | undefined> | undefined;

/** What the route answers: a token (RFC 6749 §5.1). */
interface Answer {
  access_token?: string;
  refresh_token?: string;
  expires_in?: number;
  /** An interceptor of the application may have put it into an envelope. */
  data?: Answer;
}

/** Goes to the refresh route: once for all who wait, and in one tab at a time. */
export function createRefresher(
  { fetch, refreshUrl, locks, key }: Surroundings,
  { cookie: refreshCookie, timeout = 10_000 }: ClientRefreshOptions,
  {
    delivery: { cookie: accessCookie, header = 'Authorization' } = {},
    csrf,
  }: Pick<TokenClientOptions, 'delivery' | 'csrf'>,
  held: HeldSession,
): Refresher {
  let flight: Promise<Renewal | undefined> | undefined;
  let ofFlight = NOBODY;
  /** For whom there is no cookie. */
  let visitor: Session | undefined;
  let patience = timeout;

  const exchange = async (refused: Session, isWish?: boolean): Promise<Renewal | undefined> => {
    await held.caughtUp();
    // Another tab may have been faster, or the user has signed out while this waited.
    for (let attempt = 1; isSame(held.sync(), refused); attempt++) {
      let wait = 1;
      let trouble: () => Response;
      try {
        // Whose cookie it is, it is from now on.
        const turn = nextTurn(held.sync(), Date.now());
        const response = await ask();
        const { status, type } = response;
        if (type === 'opaqueredirect' || (status >= 300 && status < 400))
          throw new TypeError('The refresh route redirects.');
        if (status < 500 && status !== 429) {
          await settle(refused, turn, response, isWish);
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
    if (now === visitor) return undefined;
    const isOpen = !refused.at || refused.out;
    return !!now.at && !now.out && !isSame(now, refused) && (!!isOpen || continues(now, refused));
  };

  const ask = () => {
    const { refresh, access } = held.sync();
    const headers = new Headers();
    csrf?.(headers);
    const byCookie = accessCookie || refreshCookie;
    if (!refresh && !byCookie) headers.set('authorization', `Bearer ${access}`);
    // A form, as RFC 6749 §6 has it; across origins that needs no preflight. As text, for the sake of
    // what brings a `fetch` of its own: jsdom, React Native.
    const form = refresh && { grant_type: 'refresh_token', refresh_token: refresh };
    if (form) headers.set('content-type', 'application/x-www-form-urlencoded');
    return fetch(refreshUrl as string, {
      method: 'POST',
      headers,
      ...(form && { body: `${new URLSearchParams(form)}` }),
      // Cloudflare Workers do not know this member, nor the value 'error' of the next one.
      ...(byCookie && { credentials: 'include' as const }),
      // A refresh token in a body would follow a redirect to wherever it leads.
      redirect: 'manual',
      signal: timeLimit(timeout),
    });
  };

  const settle = async (refused: Session, turn: number, response: Response, isWish?: boolean) => {
    const isOpen = !refused.at || !!refused.out;
    if (!response.ok) {
      const code = codeOf(response, await jsonOf(response));
      // Where only a cookie could have shown who asks, "bad request" says that there is none.
      const isNobody = refreshCookie && code === 'INVALID_REQUEST';
      if (!(OVER.test(code) || OUTDATED.test(code) || isNobody)) return;
      if (isOpen) visitor = held.sync();
      if (!isOpen || !isWish) held.end(refused, code);
      return;
    }
    const answer = isJson(response) ? ((await response.json()) as Answer | null) : undefined;
    const tokens: Answer = Object(answer?.access_token ? answer : (answer?.data ?? answer));
    const access = tokens.access_token ?? tokenIn(response, header);
    const came = { at: Math.max(Date.now(), refused.at + 1), life: tokens.expires_in };
    if (accessCookie) {
      if (answer || response.status === 204)
        held.change({ ...came, turn: isOpen ? turn : refused.turn });
      return;
    }
    const arrival = { ...came, access, refresh: tokens.refresh_token };
    held.adopt(refused, arrival, isOpen ? turn : undefined);
    const sid = sidOf(arrival);
    // Unless it was adopted. The cookie is another session's.
    if (sid && sid !== sidOf(refused) && !isOpen) held.end(refused, 'SESSION_REPLACED');
  };

  /** In one tab at a time. The server leads two who ask at once to one successor. */
  const inTurn = async (run: () => Promise<Renewal | undefined>) => {
    if (!locks) return run();
    let mine: Promise<Renewal | undefined> | undefined;
    try {
      const options = { signal: timeLimit(patience) };
      return await locks.request(`${key}:refresh`, options, () => {
        patience = timeout;
        mine = run();
        return mine;
      });
    } catch {
      // A tab that sleeps may hold it, for good: it is not waited for as long again.
      if (!mine) patience = Math.min(timeout, SHORT_PATIENCE);
      return mine ?? run();
    }
  };

  return (isAlive, isWish) => {
    const refused = held.sync();
    const { refresh, access, out } = refused;
    const byCookie = refreshCookie && (isWish || (!out && refused !== visitor));
    if (!(byCookie || (!out && (refresh || (isAlive && (access || accessCookie))))))
      return undefined;
    // What a former user still waits for is nothing to this one.
    const isMine = refused.turn === ofFlight.turn || (ofFlight.at && continues(refused, ofFlight));
    if (!isMine) flight = undefined;
    ofFlight = refused;
    flight ??= inTurn(() => exchange(refused, isWish));
    const mine = flight;
    return mine.finally(() => {
      if (flight === mine) flight = undefined;
    });
  };
}
