import { Logger } from '@nestjs/common';
import { TokenNotReadyError } from '../jwt-state.errors.js';
import type { Claims, VerifiedToken } from './verified-token.js';

interface Content {
  readonly accessToken: string;
  /** Whether the JSON answer holds it; else a cookie does. */
  readonly inBody: boolean;
  readonly claims: VerifiedToken;
  readonly expiresIn: number;
  readonly refresh?: RefreshContent;
}

interface RefreshContent {
  readonly token: string;
  readonly claims: VerifiedToken;
  readonly expiresIn: number;
  /** Whether the JSON answer holds it; else a cookie does. */
  readonly inBody: boolean;
}

/** What a token endpoint answers (RFC 6749 §5.1), without what travels by cookie. */
export interface TokenResponse {
  /** Unless it travels by cookie (`delivery.cookie`). */
  access_token?: string;
  token_type: 'Bearer';
  /** Seconds. */
  expires_in: number;
  /** Where sessions have refresh tokens (`refresh.tokens`) that travel in the body. */
  refresh_token?: string;
}

/**
 * A signed token, with the refresh token of its session where there is a new one. As JSON it is the
 * answer of a token endpoint (RFC 6749 §5.1), so a log-in route can return it as it is; what travels by
 * cookie is not in it. Printed to a log it shows its ids and never the token.
 *
 * @example
 * ```ts
 * @Post('login')
 * login(@Body() body: Credentials) {
 *   return this.tokens.issue(this.users.check(body).id);
 *   // { "access_token": "eyJ…", "token_type": "Bearer", "expires_in": 900 }
 * }
 * ```
 *
 * @publicApi
 */
export class IssuedToken<C extends Claims = Claims> {
  /** The same as {@link accessToken}, under its name in the answer. */
  declare readonly access_token?: string;
  declare readonly token_type: 'Bearer';
  declare readonly expires_in: number;
  declare readonly refresh_token?: string;
  #content: Content | undefined;
  #isDelivered = false;

  /** @internal */
  constructor(content?: Content) {
    if (content) this.#fill(content);
  }

  /** The token in its compact form. @throws TokenNotReadyError inside a `@ReissuesToken()` handler */
  get accessToken(): string {
    return this.#read().accessToken;
  }

  /** The payload. @throws TokenNotReadyError inside a `@ReissuesToken()` handler */
  get claims(): VerifiedToken<C> {
    return this.#read().claims as VerifiedToken<C>;
  }

  /** Seconds until `exp`, at the moment of signing. */
  get expiresIn(): number {
    return this.#read().expiresIn;
  }

  /** The refresh token that came with it, at a log-in and a refresh, where `refresh.tokens` is set. */
  get refreshToken(): string | undefined {
    return this.#read().refresh?.token;
  }

  /** Seconds until the refresh token expires. */
  get refreshExpiresIn(): number | undefined {
    return this.#read().refresh?.expiresIn;
  }

  /** @internal */
  get refreshClaims(): VerifiedToken | undefined {
    return this.#read().refresh?.claims;
  }

  /** @throws TokenNotReadyError inside a `@ReissuesToken()` handler */
  toJSON(): TokenResponse {
    const { inBody, refresh } = this.#read();
    const usesCookie = !inBody || refresh?.inBody === false;
    if (usesCookie && !this.#isDelivered) warnOfLostCookie();
    return this.response();
  }

  /** @internal The answer with other tokens in it than those that do not travel by cookie. */
  response(shows: { access?: boolean; refresh?: boolean } = {}): TokenResponse {
    const { accessToken, expiresIn, inBody, refresh } = this.#read();
    const { access = inBody, refresh: showsRefresh = refresh?.inBody } = shows;
    return {
      ...(access && { access_token: accessToken }),
      token_type: 'Bearer',
      expires_in: expiresIn,
      ...(refresh && showsRefresh && { refresh_token: refresh.token }),
    };
  }

  /** @internal It has been put into a response, its refresh token included. */
  delivered(): void {
    this.#isDelivered = true;
  }

  /** @internal The commit protocol fills in what a handler was handed before it was signed. */
  settle(issued: IssuedToken): void {
    this.#fill(issued.#read());
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    if (!this.#content) return 'IssuedToken { not signed yet }';
    const { sub, sid, jti } = this.#content.claims;
    return `IssuedToken { sub: '${sub}', sid: '${sid}', jti: '${jti}' }`;
  }

  /** Fields of its own as well: serialisers that do not know `toJSON` (class-transformer) see these. */
  #fill(content: Content): void {
    this.#content = content;
    Object.assign(this, this.response());
  }

  #read(): Content {
    if (!this.#content) throw new TokenNotReadyError();
    return this.#content;
  }
}

let hasWarned = false;

/** A log-in route that returns the token and does nothing else: its client never gets the cookie. */
function warnOfLostCookie(): void {
  if (hasWarned) return;
  hasWarned = true;
  new Logger('JwtStateModule').warn(
    'A token that travels by cookie was not delivered, and is not in the JSON: the client never gets it. ' +
      'Call TokenDelivery.deliver(response, issued) in the route that issues it.',
  );
}
