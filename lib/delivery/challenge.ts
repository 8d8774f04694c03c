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

function challengeOf({ bearerError, message }: JwtStateError): string {
  // A request that tried nothing is told nothing (RFC 6750 §3.1).
  if (bearerError === undefined) return 'Bearer';
  const description = message.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '');
  return `Bearer error="${bearerError}", error_description="${description}"`;
}
