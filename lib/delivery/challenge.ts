import { JwtStateError } from '../jwt-state.errors.js';
import { type AnyResponse, rawResponse } from './raw-http.js';

/** The headers that belong to an error: `WWW-Authenticate` (RFC 6750 §3), `Retry-After`. */
export function writeChallenge(response: AnyResponse, error: unknown): void {
  const raw = rawResponse(response);
  if (!(error instanceof JwtStateError) || raw.headersSent) return;
  if (error.retryAfter !== undefined) raw.setHeader('Retry-After', String(error.retryAfter));
  if (error.getStatus() !== 401 && error.bearerError === undefined) return;
  raw.setHeader('WWW-Authenticate', challengeOf(error));
}

/** RFC 6750 §3: the scheme is followed by at least one parameter, also where there is no error. */
const SCHEME = 'Bearer realm="api"';

function challengeOf({ bearerError, message }: JwtStateError): string {
  // A request that tried nothing is told nothing about errors (RFC 6750 §3.1).
  if (bearerError === undefined) return SCHEME;
  const description = message.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '');
  return `${SCHEME}, error="${bearerError}", error_description="${description}"`;
}
