import type { IncomingMessage } from 'node:http';
import { InvalidRequestError, TokenInvalidError } from '../jwt-state.errors.js';
import { type AnyRequest, rawRequest } from './raw-http.js';
import type { TokenCookie } from './token-cookie.js';

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
  /** @param cookie where one is configured */
  constructor(private readonly cookie: TokenCookie | undefined) {}

  /**
   * @throws InvalidRequestError for two different credentials (RFC 6750 §2)
   * @throws TokenInvalidError for an Authorization header that is Bearer by name only
   */
  read(request: AnyRequest): Credential | undefined {
    const raw = rawRequest(request);
    const cookies = this.cookie?.read(raw) ?? [];
    const credentials: Credential[] = [
      ...fromHeader(raw),
      ...cookies.map((token) => ({ token, origin: 'cookie' as const })),
    ];
    const [first, ...others] = credentials;
    if (others.some(({ token }) => token !== first?.token)) {
      throw new InvalidRequestError('The request carries two different credentials.');
    }
    return first;
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
