import { jsonOf, OUTDATED, OVER } from './answers.js';
import type { HeldSession } from './held-session.js';
import type { Refresher, Renewal } from './refresher.js';
import { isSame, type Session } from './session.js';
import type { Surroundings } from './surroundings.js';
import type { TokenClientOptions } from './token-client.options.js';

/** Once after a refresh, and once more where the new token was outdated by the time it arrived. */
const REPETITIONS = 2;

/** A `fetch` that sends the token of now, takes what responses bring, and repeats what was refused. */
export function authorizedFetch(
  { fetch, resolve }: Surroundings,
  {
    origins = [''],
    delivery = {},
    csrf,
  }: Pick<TokenClientOptions, 'origins' | 'delivery' | 'csrf'>,
  held: HeldSession,
  renew: Refresher | undefined,
): Surroundings['fetch'] {
  const { header = 'Authorization', body, cookie } = delivery;
  const own = origins.map((url) => resolve(url).origin);
  const isOwn = (url: string) => own.includes(resolve(url).origin);

  const adopt = async (response: Response, sent: Session) => {
    const take = (value: unknown) =>
      held.adopt(sent, { access: `${value}`.replace(/^Bearer +/i, ''), at: Date.now() });
    if (header) take(response.headers.get(header));
    if (body && response.ok) take((await jsonOf(response))[body]);
  };

  /** What follows from a 401: `true` where it is worth while to send the request again. */
  const judge = async (code: string, sent: Session, isLast: boolean): Promise<Renewal> => {
    const now = held.sync();
    const isOutdated = OUTDATED.test(code);
    if (now.turn !== sent.turn || !(isOutdated || OVER.test(code))) return false;
    // It got lost on the way, at a redirect or a proxy: that says nothing about the session.
    if (code === 'TOKEN_MISSING' && sent.access) return false;
    // The verdict is about the token that was sent; there is a newer one by now.
    if (!isSame(now, sent)) return !isLast;
    if (isOutdated) {
      if (isLast) return false;
      const isAlive = code === 'TOKEN_STALE';
      const renewal = await renew?.(isAlive);
      if (renewal !== undefined || isAlive) return renewal ?? false;
    }
    held.end(sent, code);
    return false;
  };

  return async (input, init) => {
    const given = input instanceof Request ? input : resolve(input).href;
    const { url = `${given}` } = given as Request;
    if (!isOwn(url)) return fetch(given, init);
    const request = new Request(given, cookie ? { ...init, credentials: 'include' } : init);
    // Who brings a credential of his own means that one.
    if (request.headers.has('authorization')) return fetch(request);
    // Every body that is read once, and gone, has to say so: `duplex: 'half'`.
    const isOnce = init && 'duplex' in init;
    for (let repetition = 0; ; repetition++) {
      const sent = held.sync();
      const copy = isOnce ? request : request.clone();
      if (sent.access) copy.headers.set('authorization', `Bearer ${sent.access}`);
      if (copy.method !== 'GET') csrf?.(copy.headers);
      const response = await fetch(copy);
      // After a redirect it speaks for somebody else.
      if (!isOwn(response.url || url)) return response;
      await adopt(response, sent);
      if (response.status !== 401) return response;
      const { code } = await jsonOf(response);
      const judged = judge(`${code}`, sent, repetition === REPETITIONS);
      const renewal = await Promise.race([judged, aborted(request.signal)]);
      if (typeof renewal === 'function') return renewal();
      // Never with the token of somebody else who has signed in meanwhile.
      if (!renewal || isOnce || held.sync().turn !== sent.turn) return response;
    }
  };
}

/** Who gives up waiting does not wait for a refresh either; the others still do. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}
