import { codeOf, jsonOf, OUTDATED, OVER, tokenIn } from './answers.js';
import type { HeldSession } from './held-session.js';
import type { Refresher, Renewal } from './refresher.js';
import { continues, isExpired, isSame, type Session } from './session.js';
import type { Surroundings } from './surroundings.js';
import type { FetchInput, TokenClientOptions } from './token-client.options.js';

/** Once after a refresh, and once more where the new token was outdated by the time it arrived. */
const REPETITIONS = 2;

/** What a request says of itself, be it a `Request` or its options. */
type Asked = Partial<Pick<Request, 'credentials' | 'method' | 'redirect'>> & {
  readonly headers?: ConstructorParameters<typeof Headers>[0];
  readonly cache?: string;
};

/** A `fetch` that sends the token of now, takes what responses bring, and repeats what was refused. */
export function authorizedFetch(
  { fetch, resolve, isOwn, isPage }: Surroundings,
  { delivery = {}, csrf }: Pick<TokenClientOptions, 'delivery' | 'csrf'>,
  held: HeldSession,
  renew: Refresher | undefined,
): Surroundings['fetch'] {
  const { header = 'Authorization', body, cookie } = delivery;
  const isFirst = firstTimes();

  const adopt = async (response: Response, sent: Session) => {
    const take = (access: string) => held.adopt(sent, { access, at: Date.now() });
    take(tokenIn(response, header));
    if (body && response.ok) take(`${(await jsonOf(response))[body]}`);
  };

  /** What follows from a 401: `true` where it is worth while to send the request again. */
  const judge = async (
    code: string,
    sent: Session,
    isLast: boolean,
    trouble: Renewal | undefined,
  ): Promise<Renewal> => {
    const now = held.sync();
    const isOutdated = OUTDATED.test(code);
    if (!continues(now, sent) || !(isOutdated || OVER.test(code))) return false;
    // It got lost on the way, at a redirect or a proxy: that says nothing about the session.
    if (code === 'TOKEN_MISSING' && sent.access) return false;
    // The verdict is about the token that was sent; there is a newer one by now.
    if (now.at && !isSame(now, sent)) return !isLast;
    if (isOutdated) {
      if (isLast) return false;
      const isAlive = code === 'TOKEN_STALE';
      const renewal = trouble ?? (await renew?.(isAlive));
      if (renewal !== undefined || isAlive) return renewal ?? false;
    }
    held.end(sent.at ? sent : now, code);
    return false;
  };

  /** What a request is sent with beside what its caller says. `undefined`: it goes out as it is. */
  const additions = (given: FetchInput, init?: RequestInit): RequestInit | undefined => {
    const asked = <K extends keyof Asked>(option: K): Asked[K] =>
      (init as Asked | undefined)?.[option] ?? (given as Asked)[option];
    // A credential that its caller brings, or leaves out, is meant so.
    const isOmitted = cookie && asked('credentials') === 'omit';
    if (isOmitted || new Headers(asked('headers')).has('authorization')) return undefined;
    const isRead = /^get$/i.test(asked('method') ?? 'get');
    const isCached = isPage && isRead && (asked('cache') ?? 'default') === 'default';
    return {
      ...(cookie && !init?.credentials && { credentials: 'include' }),
      // The header would follow a redirect to wherever it leads.
      ...(csrf && !isRead && { redirect: asked('redirect') === 'error' ? 'error' : 'manual' }),
      // The browser may still keep what the former user was answered.
      ...(isCached && isFirst(given, held.sync()) && { cache: 'no-cache' }),
    };
  };

  return async (input, init) => {
    const given = input instanceof Request ? input : resolve(input).href;
    const { url = `${given}` } = given as Request;
    const added = isOwn(url) ? additions(given, init) : undefined;
    if (!added) return fetch(given, init);
    const request = new Request(given, { ...init, ...added });
    const patient = <T>(work: Promise<T>) => Promise.race([work, aborted(request.signal)]);
    // Every body that is read once, and gone, has to say so: `duplex: 'half'`.
    const isOnce = init && 'duplex' in init;
    const early = isExpired(held.sync()) ? await patient(Promise.resolve(renew?.(false))) : false;
    const trouble = typeof early === 'function' ? early : undefined;
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
      const code = codeOf(response, await jsonOf(response));
      const renewal = await patient(judge(code, sent, repetition === REPETITIONS, trouble));
      if (typeof renewal === 'function') return renewal();
      // Never with the token of somebody else who has signed in meanwhile.
      if (!renewal || isOnce || !continues(held.sync(), sent)) return response;
    }
  };
}

/** Who gives up waiting does not wait for a refresh either; the others still do. */
function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason));
  });
}

/** Whether an address is asked for the first time in a session. */
function firstTimes() {
  let of = 0;
  const asked = new Set<string>();
  return (input: FetchInput, { turn }: Session): boolean => {
    if (turn !== of || asked.size > 1_000) asked.clear();
    of = turn;
    const { url = `${input}` } = input as Request;
    return asked.size < asked.add(url).size;
  };
}
