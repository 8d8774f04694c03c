import { once } from 'node:events';
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';

/** Longer than anything under test may take. */
const PATIENCE_MS = 15_000;

export interface Question {
  readonly token?: string | undefined;
  /** JSON as it is sent. */
  readonly body?: string | undefined;
  readonly headers?: Record<string, string>;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly body: any;
  readonly challenge: string | undefined;
  readonly retryAfter: string | undefined;
  /** The token that the response brought. */
  readonly token: string | undefined;
}

/** @param agent `false`: a connection of its own */
export async function requestJson(
  method: 'GET' | 'POST',
  url: string,
  { token, body, headers = {} }: Question,
  agent: Agent | false,
): Promise<Answer> {
  const request = httpRequest(url, {
    method,
    agent,
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
  });
  request.setTimeout(PATIENCE_MS, () => request.destroy(new Error('It was never answered.')));
  // Once there is a response, what goes wrong is its error, too.
  request.on('error', () => {});
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const received = await text(response);
  const {
    authorization,
    'www-authenticate': challenge,
    'retry-after': retryAfter,
  } = response.headers;
  return {
    status: response.statusCode ?? 0,
    body: received === '' ? undefined : JSON.parse(received),
    challenge,
    retryAfter,
    token: /^Bearer (.+)$/.exec(authorization ?? '')?.[1],
  };
}
