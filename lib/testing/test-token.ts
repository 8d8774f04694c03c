import { readForm } from '../token/token-form.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';

/** What a token is held with. */
export interface TestTokenExtras {
  /** The name of the cookie it travels in, where it may. */
  readonly cookieName?: string | undefined;
  /** What came with it. */
  readonly refreshToken?: string | undefined;
}

/**
 * A token in the hands of a test: what it says, and the ways to send it. Printed it shows its
 * claims, and never the token; in a template it is the token.
 *
 * @example
 * ```ts
 * const token = await tokenFor(app, 'alice');
 * await request(app.getHttpServer()).get('/me').set(token.header); // supertest
 * await fetch(`${url}/me`, { headers: token.header });
 * await app.inject({ url: '/me', headers: token.header }); // Fastify
 * ```
 * @example From the answer of a log-in:
 * ```ts
 * const token = new TestToken(response.body.access_token);
 * ```
 *
 * @publicApi
 */
export class TestToken<C extends Claims = Claims> {
  /** The payload. It is read here, and not verified. */
  readonly claims: VerifiedToken<C>;
  readonly #text: string;
  readonly #extras: TestTokenExtras;

  /** @throws TokenInvalidError for a text that is no JWT */
  constructor(text: string, extras: TestTokenExtras = {}) {
    this.claims = readForm(text).payload as unknown as VerifiedToken<C>;
    this.#text = text;
    this.#extras = extras;
  }

  /** The token in its compact form. */
  get accessToken(): string {
    return this.#text;
  }

  /** Where sessions have refresh tokens. */
  get refreshToken(): string | undefined {
    return this.#extras.refreshToken;
  }

  /** The request header that carries it. */
  get header(): { authorization: string } {
    return { authorization: `Bearer ${this.#text}` };
  }

  /**
   * The request header that carries it by cookie. A method, since Jest reads every property of what it
   * compares.
   *
   * @throws Error without `delivery.cookie`
   */
  cookie(): { cookie: string } {
    const { cookieName } = this.#extras;
    if (cookieName !== undefined) return { cookie: `${cookieName}=${this.#text}` };
    throw new Error('This token travels in no cookie: the application has no delivery.cookie.');
  }

  toString(): string {
    return this.#text;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const { sub, sid, jti } = this.claims;
    return `TestToken { sub: '${sub}', sid: '${sid}', jti: '${jti}' }`;
  }
}
