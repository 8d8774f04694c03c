import type { RefreshConfig } from '../config/refresh.config.js';
import type { CookieChoice } from '../delivery/cookie-choice.js';
import { type AnyRequest, rawRequest } from '../delivery/raw-http.js';
import type { TokenCookie } from '../delivery/token-cookie.js';
import { InvalidGrantRequestError } from '../jwt-state.errors.js';

export interface RefreshCredential {
  readonly token: string;
  readonly origin: 'body' | 'cookie';
}

/** Finds the refresh token of a request: in the body (RFC 6749 §6), or in its cookie. */
export class RefreshCredentials {
  constructor(
    private readonly settings: RefreshConfig,
    private readonly cookie: TokenCookie | undefined,
    private readonly choice: CookieChoice | undefined,
  ) {}

  /** Whether the route looks at access tokens at all. */
  get takesAccessTokens(): boolean {
    return this.settings.accessTokens;
  }

  /** Whether there is one, or something in its place that {@link read} refuses. */
  isPresent(request: AnyRequest): boolean {
    if (!this.settings.tokens) return false;
    try {
      return fromBody(request.body) !== undefined || this.inCookies(request).length > 0;
    } catch {
      return true;
    }
  }

  /**
   * @param onRivals told of cookies of one name among which nobody can choose
   * @throws InvalidGrantRequestError for two different ones, or for a grant of another kind
   */
  async read(request: AnyRequest, onRivals: () => void): Promise<RefreshCredential | undefined> {
    if (!this.settings.tokens) return undefined;
    const inBody = fromBody(request.body);
    const cookies = this.inCookies(request);
    const inCookie = cookies.length > 1 ? await this.choice?.among(cookies) : cookies[0];
    if (cookies.length > 1 && inCookie === undefined) {
      onRivals();
      throw twoTokens();
    }
    if (inBody === undefined) {
      return inCookie === undefined ? undefined : { token: inCookie, origin: 'cookie' };
    }
    if (inCookie !== undefined && inCookie !== inBody) throw twoTokens();
    return { token: inBody, origin: 'body' };
  }

  private inCookies(request: AnyRequest): readonly string[] {
    return this.cookie?.read(rawRequest(request)) ?? [];
  }
}

function fromBody(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { grant_type, refresh_token } = body as Record<string, unknown>;
  if (isGiven(grant_type) && grant_type !== 'refresh_token') {
    throw new InvalidGrantRequestError(
      'unsupported_grant_type',
      'This endpoint knows the grant type refresh_token only.',
    );
  }
  if (!isGiven(refresh_token)) return undefined;
  if (typeof refresh_token === 'string') return refresh_token;
  throw new InvalidGrantRequestError('invalid_request', 'refresh_token must be a string.');
}

function twoTokens(): InvalidGrantRequestError {
  return new InvalidGrantRequestError(
    'invalid_request',
    'The request carries two different refresh tokens.',
  );
}

/** A parameter without a value counts as omitted (RFC 6749 §3.2); in JSON that may be `null`. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}
