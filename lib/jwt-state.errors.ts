import { HttpException, type HttpExceptionOptions } from '@nestjs/common';

/** The stable codes of {@link JwtStateError}: switch on these, never on messages. */
export type JwtStateErrorCode =
  | 'INVALID_REQUEST'
  | 'TOKEN_MISSING'
  | 'TOKEN_INVALID'
  | 'TOKEN_EXPIRED'
  | 'TOKEN_REVOKED'
  | 'TOKEN_SUPERSEDED'
  | 'TOKEN_STALE'
  | 'SESSION_EXPIRED'
  | 'DENY_LIST_LOST'
  | 'DENY_LIST_UNAVAILABLE'
  | 'CLAIMS_UNAVAILABLE'
  | 'KEYS_UNAVAILABLE'
  | 'TOO_MANY_SUCCESSORS'
  | 'CLAIMS_INVALID'
  | 'TOKEN_TOO_LARGE'
  | 'TOKEN_NOT_READY'
  | 'NO_SIGNING_KEY'
  | 'NO_CLAIMS_SOURCE'
  | 'FOREIGN_TOKEN'
  | 'INVALID_GRANT'
  | 'INVALID_TARGET'
  | 'SUBJECT_REFUSED'
  | 'WRONG_CONTEXT';

/** The error codes of RFC 6750 §3.1 that this module answers with. */
export type BearerErrorCode = 'invalid_request' | 'invalid_token';

const REASONS: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  422: 'Unprocessable Entity',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/**
 * The base class of everything this module throws while the application runs.
 *
 * It is an `HttpException`, so Nest answers it as `{ statusCode, code, message, error }` without
 * further wiring, also when it leaves a handler. No message ever holds a token or a key.
 *
 * @example
 * ```ts
 * try {
 *   await tokens.revoke({ sub: user.id });
 * } catch (error) {
 *   if (error instanceof JwtStateError && error.code === 'DENY_LIST_UNAVAILABLE') queueForLater();
 *   else throw error;
 * }
 * ```
 *
 * @publicApi
 */
export abstract class JwtStateError extends HttpException {
  constructor(
    status: number,
    readonly code: JwtStateErrorCode,
    message: string,
    options?: HttpExceptionOptions,
    error = REASONS[status],
  ) {
    // What went wrong inside is for the log, not for whoever sent the request.
    const shown = status === 500 ? REASONS[status] : message;
    super({ statusCode: status, code, message: shown, error }, status, options);
    this.message = message;
    this.name = new.target.name;
  }

  /** What transports that send errors as JSON show of it: no more than HTTP does. */
  toJSON(): string | object {
    return this.getResponse();
  }

  /** The `error` of the `WWW-Authenticate` challenge (RFC 6750 §3), where this is about a token. */
  readonly bearerError?: BearerErrorCode;

  /** Seconds after which a retry makes sense, for 503 (RFC 9110 §10.2.3). */
  readonly retryAfter?: number;
}

/** Two different credentials in one request: nobody can say which one is meant (RFC 6750 §2). */
export class InvalidRequestError extends JwtStateError {
  override readonly bearerError = 'invalid_request';
  constructor(message: string) {
    super(400, 'INVALID_REQUEST', message);
  }
}

/** What the refresh route was sent is no request for a token (RFC 6749 §5.2). */
export class InvalidGrantRequestError extends JwtStateError {
  constructor(error: 'invalid_request' | 'unsupported_grant_type', message: string) {
    super(400, 'INVALID_REQUEST', message, {}, error);
  }
}

/**
 * The refresh token leads to nothing (RFC 6749 §5.2). Unknown, expired, revoked and reused are
 * answered alike, so that nobody learns from the answer which it was.
 */
export class InvalidGrantError extends JwtStateError {
  constructor() {
    super(
      400,
      'INVALID_GRANT',
      'The refresh token is not valid: log in again.',
      {},
      'invalid_grant',
    );
  }
}

/** The request carries no token. Answered without an error code, as RFC 6750 §3.1 asks. */
export class TokenMissingError extends JwtStateError {
  constructor() {
    super(401, 'TOKEN_MISSING', 'This request needs a bearer token.');
  }
}

/** Malformed, not signed by us, made for someone else, or with claims this module cannot trust. */
export class TokenInvalidError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor(reason: string) {
    super(401, 'TOKEN_INVALID', `The token is not valid: ${reason}.`);
  }
}

/** `exp` has passed (RFC 7519 §4.1.4). */
export class TokenExpiredError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor() {
    super(401, 'TOKEN_EXPIRED', 'The token has expired.');
  }
}

/**
 * `issue()` for a subject for whom the claims source answers `null`. No 401: it says nothing of the token that
 * the request carries, which may be an administrator's.
 */
export class SubjectRefusedError extends JwtStateError {
  constructor() {
    super(403, 'SUBJECT_REFUSED', 'This account may hold no token.');
  }
}

/** Logged out, shut out by an administrator, or the claims source answered `null`. */
export class TokenRevokedError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor(message = 'The session of this token has been revoked: log in again.') {
    super(401, 'TOKEN_REVOKED', message);
  }
}

/** Replaced by a successor, and the grace period is over. */
export class TokenSupersededError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor() {
    super(401, 'TOKEN_SUPERSEDED', 'The token was replaced by a newer one: use that.');
  }
}

/** The state behind the token has changed, and this service cannot reissue it. */
export class TokenStaleError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor() {
    super(401, 'TOKEN_STALE', 'The claims of this token are out of date: refresh it.');
  }
}

/** The session is older than `session.maxAge`: only a new log-in continues. */
export class SessionExpiredError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor() {
    super(401, 'SESSION_EXPIRED', 'The session has expired (session.maxAge). Log in again.');
  }
}

/** The deny list lost its entries after this token was issued (`denyList.onLoss: 'reject'`). */
export class DenyListLostError extends JwtStateError {
  override readonly bearerError = 'invalid_token';
  constructor() {
    super(
      401,
      'DENY_LIST_LOST',
      'The revocations made since this token was issued are lost: log in again.',
    );
  }
}

/** The store did not answer, or did not confirm a write. Nothing may be concluded from that. */
export class DenyListUnavailableError extends JwtStateError {
  override readonly retryAfter = 1;
  constructor(message = 'The deny list cannot be reached.', cause?: unknown) {
    super(503, 'DENY_LIST_UNAVAILABLE', message, { cause });
  }
}

/** The claims source threw or did not answer in time. The presented token was not consumed. */
export class ClaimsUnavailableError extends JwtStateError {
  override readonly retryAfter = 1;
  constructor(message: string, cause?: unknown) {
    super(503, 'CLAIMS_UNAVAILABLE', message, { cause });
  }
}

/** The issuer's key set cannot be fetched: nobody can say whether the token's key is in it. */
export class KeysUnavailableError extends JwtStateError {
  override readonly retryAfter = 1;
  constructor(cause?: unknown) {
    super(503, 'KEYS_UNAVAILABLE', 'The keys of the issuer cannot be read.', { cause });
  }
}

/** The chain of successors is longer than anyone follows in one request. Nothing was consumed. */
export class TooManySuccessorsError extends JwtStateError {
  override readonly retryAfter = 1;
  constructor() {
    super(503, 'TOO_MANY_SUCCESSORS', 'The token is being replaced too often: try again.');
  }
}

/** The application offered claims that a token of this module cannot carry. */
export class ClaimsInvalidError extends JwtStateError {
  constructor(message: string) {
    super(500, 'CLAIMS_INVALID', message);
  }
}

/** The signed token would be so large that servers refuse requests that carry it. */
export class TokenTooLargeError extends JwtStateError {
  constructor(size: number, limit: number) {
    super(
      500,
      'TOKEN_TOO_LARGE',
      `The token would be ${size} bytes long; ${limit} is the limit. Put ids into claims, not records.`,
    );
  }
}

/** The token of a staged reissue was read before the handler had succeeded. */
export class TokenNotReadyError extends JwtStateError {
  constructor() {
    super(
      500,
      'TOKEN_NOT_READY',
      'Inside a @ReissuesToken() handler the new token is signed after the handler has succeeded. ' +
        'Return the IssuedToken as it is, or rely on the delivery header.',
    );
  }
}

/** This service has only a public key. */
export class NoSigningKeyError extends JwtStateError {
  constructor() {
    super(500, 'NO_SIGNING_KEY', 'This service verifies only: it has no key to sign tokens with.');
  }
}

/** Another issuer's token was to be replaced. Only its issuer can do that. */
export class ForeignTokenError extends JwtStateError {
  constructor() {
    super(
      400,
      'FOREIGN_TOKEN',
      "This token is another issuer's: it cannot be reissued here. Its client asks that issuer.",
    );
  }
}

/** Marking state as changed makes no sense where nobody can say what the state is now. */
export class NoClaimsSourceError extends JwtStateError {
  constructor() {
    super(
      500,
      'NO_CLAIMS_SOURCE',
      'markStale() needs the `claims` option: without a claims source there is no fresh truth to read.',
    );
  }
}

/**
 * `revoke()` or `markStale()` was given something that names no scope, or more than one, or a token that is of
 * no use. Also the answer to a request whose handler had another token than the request's own refused. No
 * 401: the caller's own token is good, and its client must not sign the user out.
 */
export class InvalidTargetError extends JwtStateError {
  constructor(message: string, cause?: unknown) {
    super(422, 'INVALID_TARGET', message, { cause });
  }
}

/** Part of the wiring is missing: a guard outside HTTP, or a protocol without its guard. */
export class WrongContextError extends JwtStateError {
  constructor(message: string) {
    super(500, 'WRONG_CONTEXT', message);
  }
}

/**
 * A wiring mistake that can never recover, so it stops the boot instead of surfacing later as
 * failing requests. The message says what to do.
 *
 * @publicApi
 */
export class JwtStateConfigError extends Error {
  override readonly name = 'JwtStateConfigError';
  readonly code = 'CONFIG_INVALID';
}
