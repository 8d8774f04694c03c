import { isObject } from '../token/token-form.js';
import { kindOf, type TokenKind } from './token-kind.js';

/**
 * What a client was answered: a response of supertest, of Fastify's `inject()`, or of `fetch`. Of the
 * last one the body cannot be looked into; where tokens travel there, give
 * `{ status, headers, body: await response.json() }`.
 */
export interface TestResponse {
  readonly status?: number | undefined;
  readonly statusCode?: number | undefined;
  /** `Headers`, or an object of them. */
  readonly headers: object;
  /** Parsed, or its text. */
  readonly body?: unknown;
}

/** A token of this module in a response. */
export interface ReceivedToken {
  readonly text: string;
  readonly kind: TokenKind;
  /** Where a cookie brings it. */
  readonly cookieName?: string;
}

/**
 * Every token in it, wherever `delivery` puts it: a header, a cookie, a field of a JSON object. What
 * they are their own `typ` says, so the options of the application need not be known.
 */
export function tokensIn(response: TestResponse): ReceivedToken[] {
  const found = [...headersOf(response), ...fieldsOf(response)];
  return found.flatMap(({ text, cookieName }) => {
    const kind = kindOf(text);
    return kind ? [{ text, kind, ...(cookieName !== undefined && { cookieName }) }] : [];
  });
}

/** Says what was answered, and nothing of what may be confidential. */
export function summaryOf(response: TestResponse): string {
  const { code } = bodyOf(response) as { code?: unknown };
  const status = response.statusCode ?? response.status ?? 'unknown';
  return typeof code === 'string' && /^[A-Z_]{1,40}$/.test(code)
    ? `${status} ${code}`
    : `${status}`;
}

/** Whether its body is a stream that nobody has read, as with `fetch`. */
export function isUnread({ body }: TestResponse): boolean {
  return isObject(body) && 'getReader' in body;
}

interface Found {
  readonly text: string;
  readonly cookieName?: string;
}

function headersOf({ headers }: TestResponse): Found[] {
  const isIterable = Symbol.iterator in headers;
  const entries = isIterable
    ? [...(headers as Iterable<[string, unknown]>)]
    : Object.entries(headers);
  return entries.flatMap(([name, value]) =>
    [value].flat().map((item) => {
      const text = String(item);
      return name.toLowerCase() === 'set-cookie' ? cookieIn(text) : { text: withoutScheme(text) };
    }),
  );
}

function cookieIn(line: string): Found {
  const [pair = ''] = line.split(';');
  const at = pair.indexOf('=');
  return { cookieName: pair.slice(0, at).trim(), text: pair.slice(at + 1).trim() };
}

function withoutScheme(value: string): string {
  return value.replace(/^Bearer +/i, '');
}

function fieldsOf(response: TestResponse): Found[] {
  return Object.values(bodyOf(response)).flatMap((value) =>
    typeof value === 'string' ? [{ text: value }] : [],
  );
}

/** `inject()` gives the text, supertest what it has parsed. */
function bodyOf({ body }: TestResponse): Record<string, unknown> {
  if (isObject(body)) return body;
  try {
    const parsed: unknown = typeof body === 'string' ? JSON.parse(body) : undefined;
    return isObject(parsed) ? parsed : {};
  } catch {
    return {};
  }
}
