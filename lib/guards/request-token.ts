import type { CredentialOrigin } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import type { ResolvedToken, TokenResolver } from '../reissue/token-resolver.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** What the guard found out about a request, for those who come after it. */
export interface RequestToken extends ResolvedToken {
  readonly origin: CredentialOrigin;
  /** Whose finding this is: a request can pass from one application to another. */
  readonly resolver: TokenResolver;
}

/**
 * On the request itself: a map of all of them beside would be work for the garbage collector. The same
 * for all copies of this package, so that `@CurrentToken()` of another one finds it.
 */
const TOKEN = Symbol.for('nestjs-jwt-state:request-token');

interface Judged {
  [TOKEN]?: RequestToken;
}

export function setRequestToken(
  request: AnyRequest,
  { presented, tip, current, issued, marks }: ResolvedToken,
  origin: CredentialOrigin,
  resolver: TokenResolver,
): void {
  // Spelled out: this is done for every request, and a spread takes three times as long.
  const token: RequestToken = { presented, tip, current, issued, marks, origin, resolver };
  (request as Judged)[TOKEN] = token;
}

/** `undefined`: the guard has not seen this request. */
export function requestToken(request: AnyRequest): RequestToken | undefined {
  return (request as Judged)[TOKEN];
}

/** Of a test without the module: the token of a user that was never logged in. */
export function setActingToken(request: AnyRequest, token: VerifiedToken): void {
  (request as Judged)[TOKEN] = {
    presented: token,
    tip: token,
    current: token,
    issued: undefined,
    marks: [],
    origin: 'header',
    resolver: undefined as never,
  };
}

export function isActing({ resolver }: RequestToken): boolean {
  return resolver === undefined;
}
