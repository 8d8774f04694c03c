import { writeChallenge } from '../delivery/challenge.js';
import { type AnyRequest, type AnyResponse, rawRequest } from '../delivery/raw-http.js';
import { InvalidTargetError, JwtStateError } from '../jwt-state.errors.js';
import { type RefusedToken, refusedToken } from '../token-service/refusals.js';
import { requestToken } from './request-token.js';

/**
 * What a request is answered that ended with this error. A client takes a 401 for a verdict on the token
 * that it has sent, and may sign its user out: so a handler's verdict on another token is none.
 */
export function answerTo(error: JwtStateError, request: AnyRequest | undefined): JwtStateError {
  const token = refusedToken(error);
  if (token === undefined || (request && isOwn(token, request))) return error;
  return new InvalidTargetError(`About another token than that of this request: ${error.message}`);
}

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
 *     const answer = writeErrorHeaders(response, error);
 *     const status = answer instanceof HttpException ? answer.getStatus() : 500;
 *     response.status(status).json({ success: false });
 *   }
 * }
 * ```
 *
 * @returns what to answer: `error` itself, or 422 `INVALID_TARGET` where it is about another token than the
 *   request's own
 * @publicApi
 */
export function writeErrorHeaders(response: AnyResponse, error: unknown): unknown {
  if (!(error instanceof JwtStateError)) return error;
  // Express has the request there, Fastify here.
  const { req, request = req } = response as { req?: AnyRequest; request?: AnyRequest };
  const answer = answerTo(error, request);
  writeChallenge(response, answer);
  return answer;
}

/** Whether the request carries it: in `Authorization`, or in a cookie of any name. */
function isOwn(token: RefusedToken, request: AnyRequest): boolean {
  if ('sid' in token) return requestToken(request)?.current.sid === token.sid;
  const { authorization = '', cookie = '' } = request.headers ?? rawRequest(request).headers;
  const values = cookie.split(';').map((pair) => pair.slice(pair.indexOf('=') + 1).trim());
  return [authorization.split(' ').at(-1), ...values].includes(String(token.text));
}
