import { expect } from '@jest/globals';
import type { Reply, TestApp } from './test-app.js';

export const REFRESH_PATH = '/auth/refresh-token';

/** What a client holds. */
export interface Pair {
  readonly access: string;
  readonly refresh: string;
}

/** A log-in through {@link SessionController}. */
export async function logIn(app: TestApp, user = 'alice'): Promise<Pair> {
  return pairOf(await app.post('/login', undefined, { user }));
}

/** One use of a refresh token, as RFC 6749 §6 says, in JSON. */
export function exchange(app: TestApp, refresh_token: string): Promise<Reply> {
  return app.post(REFRESH_PATH, undefined, { refresh_token });
}

/** One use that has to succeed. */
export async function exchanged(app: TestApp, { refresh }: Pair): Promise<Pair> {
  return pairOf(await exchange(app, refresh));
}

/** The pair in the answer of a token endpoint (RFC 6749 §5.1), which holds nothing else. */
export function pairOf({ status, body, headers }: Pick<Reply, 'status' | 'body' | 'headers'>) {
  expect({ status, ...body }).toEqual({
    status: 200,
    access_token: expect.stringMatching(/^eyJ/),
    token_type: 'Bearer',
    expires_in: expect.any(Number),
    refresh_token: expect.stringMatching(/^eyJ/),
  });
  expect(headers.get('cache-control')).toBe('no-store');
  return { access: body.access_token as string, refresh: body.refresh_token as string };
}

/** A `Set-Cookie`, taken apart: names of attributes are as they were sent, flags are `true`. */
export interface ReceivedCookie {
  readonly value: string;
  readonly attributes: Readonly<Record<string, string | true>>;
}

/** The cookies that a response sets, by their names. */
export function cookiesOf({ headers }: Pick<Reply, 'headers'>): Record<string, ReceivedCookie> {
  const cookies: Record<string, ReceivedCookie> = {};
  for (const line of headers.getSetCookie()) {
    const [pair = '', ...rest] = line.split('; ');
    const [name = '', value = ''] = split(pair);
    if (name in cookies) throw new Error(`The cookie ${name} is set twice.`);
    const attributes = rest.map((attribute) => {
      const [key = '', text] = split(attribute);
      return [key, text ?? true] as const;
    });
    cookies[name] = { value, attributes: Object.fromEntries(attributes) };
  }
  return cookies;
}

function split(text: string): string[] {
  const at = text.indexOf('=');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
