import type { CredentialOrigin } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import type { ResolvedToken, TokenResolver } from '../reissue/token-resolver.js';

/** What the guard found out about a request, for those who come after it. */
export interface RequestToken extends ResolvedToken {
  readonly origin: CredentialOrigin;
  /** Whose finding this is: a request can pass from one application to another. */
  readonly resolver: TokenResolver;
}

/** On the request itself: a map of all of them beside would be work for the garbage collector. */
const TOKEN = Symbol('jwt-state:request-token');

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
