import type { CredentialReader } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import { InvalidTargetError, type JwtStateError } from '../jwt-state.errors.js';
import { type RefusedToken, refusedToken } from '../token-service/refusals.js';
import { requestToken } from './request-token.js';

/**
 * What a request is answered that ended with this error. A client takes a 401 for a verdict on the token
 * that it has sent, and may sign its user out: so a handler's verdict on another token is none.
 */
export function answerTo(
  error: JwtStateError,
  request: AnyRequest,
  credentials: CredentialReader,
): JwtStateError {
  const token = refusedToken(error);
  if (token === undefined || isOwn(token, request, credentials)) return error;
  return new InvalidTargetError(`About another token than that of this request: ${error.message}`);
}

function isOwn(token: RefusedToken, request: AnyRequest, credentials: CredentialReader): boolean {
  if ('sid' in token) return requestToken(request)?.current.sid === token.sid;
  try {
    return credentials.read(request)?.token === token.text;
  } catch {
    return false; // it carries two, or something that is none
  }
}
