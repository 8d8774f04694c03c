import type { IncomingMessage } from 'node:http';
import { InvalidRequestError, TokenInvalidError } from '../jwt-state.errors.js';
import { type AnyRequest, rawRequest } from './raw-http.js';

/** Where a request carries its token. */
export type CredentialOrigin = 'header' | 'cookie';

export interface Credential {
  readonly token: string;
  readonly origin: CredentialOrigin;
}

/** RFC 6750 §2.1: one space or more, then b64token. Nothing may follow. */
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i;

/** Finds the one bearer token of a request. */
export class CredentialReader {
  /** @param cookieName where a cookie is configured */
  constructor(private readonly cookieName: string | undefined) {}

  /**
   * @throws InvalidRequestError for two different credentials (RFC 6750 §2)
   * @throws TokenInvalidError for an Authorization header that is Bearer by name only
   */
  read(request: AnyRequest): Credential | undefined {
    const raw = rawRequest(request);
    const credentials = [...fromHeader(raw), ...this.fromCookie(raw)];
    const [first, ...others] = credentials;
    if (others.some(({ token }) => token !== first?.token)) {
      throw new InvalidRequestError('The request carries two different credentials.');
    }
    return first;
  }

  private fromCookie(request: IncomingMessage): Credential[] {
    if (this.cookieName === undefined) return [];
    const prefix = `${this.cookieName}=`;
    // All of that name: a second one, planted from a sister domain, must not win by its place.
    return (request.headers.cookie ?? '')
      .split(';')
      .map((pair) => pair.trim())
      .filter((pair) => pair.startsWith(prefix) && pair.length > prefix.length)
      .map((pair) => ({ token: pair.slice(prefix.length), origin: 'cookie' }));
  }
}

function fromHeader(request: IncomingMessage): Credential[] {
  return authorizationHeaders(request)
    .filter((value) => /^bearer(\s|$)/i.test(value))
    .map((value) => {
      const token = BEARER.exec(value)?.[1];
      if (token === undefined) throw new TokenInvalidError('the Authorization header is malformed');
      return { token, origin: 'header' };
    });
}

/** Node keeps only the first of several in `headers`. */
function authorizationHeaders(request: IncomingMessage): string[] {
  const { authorization } = request.headers;
  return request.headersDistinct?.authorization ?? (authorization ? [authorization] : []);
}
