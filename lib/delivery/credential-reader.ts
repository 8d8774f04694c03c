import type { IncomingMessage } from 'node:http';
import { InvalidRequestError, TokenInvalidError } from '../jwt-state.errors.js';
import type { CookieChoice } from './cookie-choice.js';
import { type AnyRequest, rawRequest } from './raw-http.js';
import type { TokenCookie } from './token-cookie.js';

/** Where a request carries its token. */
export type CredentialOrigin = 'header' | 'cookie';

export interface Credential {
  readonly token: string;
  readonly origin: CredentialOrigin;
  /** Several cookies of the name: the token is none yet, {@link CredentialReader.choose} finds it. */
  readonly rivals: readonly string[] | undefined;
}

/** RFC 6750 §2.1: one space or more, then b64token. Nothing may follow. */
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i;
/** As nearly everybody writes it. */
const PLAIN = 'Bearer ';
const SPACE = 0x20;

const BEARER_BY_NAME = /^bearer(\s|$)/i;
const NAME = 'authorization';
const NONE: readonly string[] = [];

/** Finds the one bearer token of a request. */
export class CredentialReader {
  /** Among several cookies of one request. */
  private readonly chosen = new WeakMap<IncomingMessage, string>();

  /** @param cookie where one is configured */
  constructor(
    private readonly cookie: TokenCookie | undefined,
    private readonly choice: CookieChoice,
  ) {}

  /**
   * Keeps the cookie that counts, for {@link read} to answer with from then on.
   *
   * @throws InvalidRequestError where two sessions are left
   * @throws KeysUnavailableError, DenyListUnavailableError when nobody can say
   */
  async choose(request: AnyRequest, rivals: readonly string[]): Promise<void> {
    const token = await this.choice.among(rivals);
    if (token === undefined) throw twoCredentials();
    this.chosen.set(rawRequest(request), token);
  }

  /**
   * @throws InvalidRequestError for two different credentials (RFC 6750 §2)
   * @throws TokenInvalidError for an Authorization header that is Bearer by name only
   */
  read(request: AnyRequest): Credential | undefined {
    const raw = rawRequest(request);
    const inHeader = tokenInHeaders(raw);
    const cookies = this.cookie?.read(raw) ?? NONE;
    const inCookie = cookies.length > 1 ? this.chosen.get(raw) : cookies[0];
    if (cookies.length > 1 && inCookie === undefined) {
      return { token: '', origin: 'cookie', rivals: cookies };
    }
    const token = inHeader ?? inCookie;
    if (token === undefined) return undefined;
    if (inCookie !== undefined && inCookie !== token) throw twoCredentials();
    return { token, origin: inHeader === undefined ? 'cookie' : 'header', rivals: undefined };
  }
}

/**
 * Node keeps only the first of several in `headers`, and to see them all in `headersDistinct` it
 * would sort every header of the request.
 */
function tokenInHeaders(raw: IncomingMessage): string | undefined {
  const { rawHeaders } = raw;
  let isThere = false;
  let found: string | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (!isAuthorization(rawHeaders[index] as string)) continue;
    isThere = true;
    const token = tokenIn(rawHeaders[index + 1] as string);
    if (found !== undefined && token !== undefined && token !== found) {
      throw twoCredentials();
    }
    found ??= token;
  }
  if (isThere) return found;
  // Set by somebody on the way: a token that came as a query parameter, say.
  const { authorization } = raw.headers;
  return authorization ? tokenIn(authorization) : undefined;
}

function isAuthorization(name: string): boolean {
  if (name.length !== NAME.length) return false;
  return name === 'Authorization' || name.toLowerCase() === NAME;
}

/**
 * What follows is of any form here: whoever takes it apart refuses what is no token.
 *
 * @returns `undefined` where it is a credential of another kind
 */
function tokenIn(value: string): string | undefined {
  const isPlain =
    value.length > PLAIN.length &&
    value.startsWith(PLAIN) &&
    value.charCodeAt(PLAIN.length) !== SPACE;
  if (isPlain) return value.slice(PLAIN.length);
  const token = BEARER.exec(value)?.[1];
  if (token === undefined && BEARER_BY_NAME.test(value)) {
    throw new TokenInvalidError('the Authorization header is malformed');
  }
  return token;
}

function twoCredentials(): InvalidRequestError {
  return new InvalidRequestError('The request carries two different credentials.');
}
