import type { ServerResponse } from 'node:http';
import onHeaders from 'on-headers';
import { JwtStateError } from '../jwt-state.errors.js';
import { type AnyResponse, isHttpResponse, rawResponse } from './raw-http.js';
import { appendToList } from './token-delivery.js';

/** Carries the code of every error of this module that is answered, whatever the body is. */
export const ERROR_HEADER = 'Jwt-State-Error';
const OURS = [ERROR_HEADER, 'WWW-Authenticate', 'Retry-After'];

/**
 * Writes the headers that belong to an error of this module: `Jwt-State-Error`, which holds its code,
 * `WWW-Authenticate` (RFC 6750 §3) and `Retry-After`. Other errors are left alone.
 *
 * For exception filters of an application that answer in their own form. The guard, the refresh route
 * and `@ReissuesToken()` have written theirs before; what a handler throws needs this line.
 *
 * @example
 * ```ts
 * @Catch()
 * export class EnvelopeFilter implements ExceptionFilter {
 *   catch(error: unknown, host: ArgumentsHost) {
 *     const response = host.switchToHttp().getResponse<Response>();
 *     writeErrorHeaders(response, error);
 *     const status = error instanceof HttpException ? error.getStatus() : 500;
 *     response.status(status).json({ success: false });
 *   }
 * }
 * ```
 *
 * @publicApi
 */
export function writeChallenge(response: AnyResponse, error: unknown): void {
  if (!(error instanceof JwtStateError) || !isHttpResponse(response)) return;
  const raw = rawResponse(response);
  // What threw the error knows best how to put it; a filter comes after.
  if (raw.headersSent || raw.getHeader(ERROR_HEADER) === error.code) return;
  if (!raw.hasHeader(ERROR_HEADER)) onHeaders(raw, () => settle(raw));
  raw.setHeader(ERROR_HEADER, error.code);
  if (error.retryAfter !== undefined) raw.setHeader('Retry-After', String(error.retryAfter));
  if (error.getStatus() !== 401 && error.bearerError === undefined) return;
  raw.setHeader('WWW-Authenticate', challengeOf(error));
}

/** In the moment the headers leave, when it is known how the request has ended. */
function settle(raw: ServerResponse): void {
  const written = OURS.filter((name) => raw.hasHeader(name));
  // Another guard has let it in after all, or a filter has made no error of it.
  const isError = raw.statusCode >= 400;
  for (const name of written) {
    if (isError) appendToList(raw, 'Access-Control-Expose-Headers', name);
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
