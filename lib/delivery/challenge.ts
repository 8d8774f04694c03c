import type { ServerResponse } from 'node:http';
import onHeaders from 'on-headers';
import { logMistake } from '../error-log.js';
import { JwtStateError } from '../jwt-state.errors.js';
import { type AnyResponse, isHttpResponse, rawResponse } from './raw-http.js';
import { appendToList } from './token-delivery.js';

/** Carries the code of every error of this module that is answered, whatever the body is. */
export const ERROR_HEADER = 'Jwt-State-Error';
/** Of the error whose headers a response has. */
const statuses = new WeakMap<ServerResponse, number>();
const OURS = [ERROR_HEADER, 'WWW-Authenticate', 'Retry-After'];

/**
 * Writes the headers that belong to an error of this module; others are left alone. See
 * `writeErrorHeaders`, which an application calls.
 */
export function writeChallenge(response: AnyResponse, error: unknown): void {
  if (!(error instanceof JwtStateError)) return;
  logMistake(error);
  if (!isHttpResponse(response)) return;
  const raw = rawResponse(response);
  // What threw the error knows best how to put it; a filter comes after.
  if (raw.headersSent || raw.getHeader(ERROR_HEADER) === error.code) return;
  const isFirst = !statuses.has(raw);
  statuses.set(raw, error.getStatus());
  if (isFirst) onHeaders(raw, () => settle(raw));
  for (const name of OURS) raw.removeHeader(name);
  raw.setHeader(ERROR_HEADER, error.code);
  if (error.retryAfter !== undefined) raw.setHeader('Retry-After', String(error.retryAfter));
  if (error.getStatus() !== 401 && error.bearerError === undefined) return;
  raw.setHeader('WWW-Authenticate', challengeOf(error));
}

/** In the moment the headers leave, when it is known how the request has ended. */
function settle(raw: ServerResponse): void {
  const written = OURS.filter((name) => raw.hasHeader(name));
  // Another guard has let it in after all, or a filter has made something else of it.
  const isAnswered = raw.statusCode === statuses.get(raw);
  for (const name of written) {
    if (isAnswered) appendToList(raw, 'Access-Control-Expose-Headers', name);
    else raw.removeHeader(name);
  }
}

/** RFC 6750 §3: the scheme is followed by at least one parameter, also where there is no error. */
const SCHEME = 'Bearer realm="api"';

function challengeOf({ bearerError, message, code }: JwtStateError): string {
  // A request that tried nothing is told nothing about errors (RFC 6750 §3.1).
  if (bearerError === undefined) return SCHEME;
  const description = message.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '');
  return `${SCHEME}, error="${bearerError}", error_description="${description}", code="${code}"`;
}
