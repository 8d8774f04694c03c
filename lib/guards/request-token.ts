import type { CredentialOrigin } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import type { ResolvedToken, TokenResolver } from '../reissue/token-resolver.js';

/** What the guard found out about a request, for those who come after it. */
export interface RequestToken extends ResolvedToken {
  readonly origin: CredentialOrigin;
  /** Whose finding this is: a request can pass from one application to another. */
  readonly resolver: TokenResolver;
}

const tokens = new WeakMap<object, RequestToken>();

export function setRequestToken(request: AnyRequest, token: RequestToken): void {
  tokens.set(request, token);
}

/** `undefined`: the guard has not seen this request. */
export function requestToken(request: AnyRequest): RequestToken | undefined {
  return tokens.get(request);
}
