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
    // Fastify keeps headers that were set on the way beside those of Node.
    const { authorization } = request.headers ?? raw.headers;
    const inHeader =
      authorization === undefined ? undefined : tokenInHeader(authorization, raw.rawHeaders);
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

/** The header as it is now: a gateway or middleware may have set, replaced or deleted it. */
function tokenInHeader(authorization: unknown, rawHeaders: readonly string[]): string | undefined {
  if (typeof authorization !== 'string') throw malformed();
  const token = tokenIn(authorization);
  refuseOthers(authorization, token, rawHeaders);
  return token;
}

/**
 * Node keeps only the first of several in `headers`, and to see them all in `headersDistinct` it
 * would sort every header of the request.
 */
function refuseOthers(
  authorization: string,
  token: string | undefined,
  rawHeaders: readonly string[],
): void {
  let isFirst = true;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (!isAuthorization(rawHeaders[index] as string)) continue;
    const value = rawHeaders[index + 1] as string;
    if (value === authorization) {
      isFirst = false;
      continue;
    }
    // It was rewritten on the way: what the client had sent does not count any more.
    if (isFirst) return;
    const other = tokenIn(value);
    if (other !== undefined && other !== token) throw twoCredentials();
  }
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
    throw malformed();
  }
  return token;
}

function malformed(): TokenInvalidError {
  return new TokenInvalidError('the Authorization header is malformed');
}

function twoCredentials(): InvalidRequestError {
  return new InvalidRequestError('The request carries two different credentials.');
}
