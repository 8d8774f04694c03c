import type { RefreshConfig } from '../config/refresh.config.js';
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
  ) {}

  /** Whether the route looks at access tokens at all. */
  get takesAccessTokens(): boolean {
    return this.settings.accessTokens;
  }

  /** Whether there is one, or something in its place that {@link read} refuses. */
  isPresent(request: AnyRequest): boolean {
    try {
      return this.read(request) !== undefined;
    } catch {
      return true;
    }
  }

  /** @throws InvalidGrantRequestError for two different ones, or for a grant of another kind */
  read(request: AnyRequest): RefreshCredential | undefined {
    if (!this.settings.tokens) return undefined;
    const [first, ...others] = [...fromBody(request.body), ...this.fromCookie(request)];
    if (others.some(({ token }) => token !== first?.token)) {
      throw new InvalidGrantRequestError(
        'invalid_request',
        'The request carries two different refresh tokens.',
      );
    }
    return first;
  }

  private fromCookie(request: AnyRequest): RefreshCredential[] {
    const tokens = this.cookie?.read(rawRequest(request)) ?? [];
    return tokens.map((token) => ({ token, origin: 'cookie' }));
  }
}

function fromBody(body: unknown): RefreshCredential[] {
  if (typeof body !== 'object' || body === null) return [];
  const { grant_type, refresh_token } = body as Record<string, unknown>;
  if (isGiven(grant_type) && grant_type !== 'refresh_token') {
    throw new InvalidGrantRequestError(
      'unsupported_grant_type',
      'This endpoint knows the grant type refresh_token only.',
    );
  }
  if (!isGiven(refresh_token)) return [];
  if (typeof refresh_token === 'string') return [{ token: refresh_token, origin: 'body' }];
  throw new InvalidGrantRequestError('invalid_request', 'refresh_token must be a string.');
}

/** A parameter without a value counts as omitted (RFC 6749 §3.2); in JSON that may be `null`. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}
