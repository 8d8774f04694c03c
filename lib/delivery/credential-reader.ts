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
/** As nearly everybody writes it. */
const PLAIN = 'Bearer ';
const SPACE = 0x20;

const BEARER_BY_NAME = /^bearer(\s|$)/i;
const NAME = 'authorization';

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
    const credentials = credentialsIn(authorizationHeaders(raw));
    for (const token of this.cookie?.read(raw) ?? []) credentials.push({ token, origin: 'cookie' });
    const [first] = credentials;
    if (credentials.length > 1 && credentials.some(({ token }) => token !== first?.token)) {
      throw new InvalidRequestError('The request carries two different credentials.');
    }
    return first;
  }
}

function credentialsIn(headers: readonly string[]): Credential[] {
  const credentials: Credential[] = [];
  for (const value of headers) {
    const token = tokenIn(value);
    if (token !== undefined) credentials.push({ token, origin: 'header' });
    else if (BEARER_BY_NAME.test(value)) {
      throw new TokenInvalidError('the Authorization header is malformed');
    }
  }
  return credentials;
}

/** What follows is of any form here: whoever takes it apart refuses what is no token. */
function tokenIn(value: string): string | undefined {
  const isPlain =
    value.length > PLAIN.length &&
    value.startsWith(PLAIN) &&
    value.charCodeAt(PLAIN.length) !== SPACE;
  return isPlain ? value.slice(PLAIN.length) : BEARER.exec(value)?.[1];
}

/**
 * Node keeps only the first of several in `headers`, and to see them all in `headersDistinct` it
 * would sort every header of the request.
 */
function authorizationHeaders({ rawHeaders, headers }: IncomingMessage): readonly string[] {
  const found: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    if (name.length === NAME.length && name.toLowerCase() === NAME) {
      found.push(rawHeaders[index + 1] as string);
    }
  }
  // Set by somebody on the way: a token that came as a query parameter, say.
  if (found.length === 0 && headers.authorization) found.push(headers.authorization);
  return found;
}
