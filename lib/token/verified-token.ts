/** What an application puts into a token: anything JSON can carry, under names of its own. */
export type Claims = Record<string, unknown>;

/**
 * The private claim `seen`: which marks of the deny list were present when the claims of this
 * token were read. A mark that is present and not seen is news, and makes the token stale or
 * revoked.
 */
export interface Seen {
  /** The epoch of the store (its witness) from which the marks were read. */
  readonly epoch: string;
  /** Ids of the stale marks that this token was made after. */
  readonly stale?: readonly string[];
  /** Ids of the revocation marks that the session was started after. */
  readonly revoked?: readonly string[];
  /**
   * Provisional until then, in milliseconds since the epoch: a handler was still changing state
   * when the claims were read.
   */
  readonly until?: number;
  /** The form of this claim; 2 names generations. */
  readonly v?: 2;
  /**
   * The place of a token in its session: how often access tokens were replaced before it, or refresh
   * tokens used. Absent: 0, a token of the log-in.
   */
  readonly gen?: number;
  /** Of a refresh token: the `jti` of the one whose use has brought it. */
  readonly prev?: string;
  /** What the log-in has decided for all tokens of its session. */
  readonly login?: LogInTerms;
  /**
   * Set on tokens that this module did not make and that have seen nothing: `legacy` is one of the
   * application's own from before, `foreign` another issuer's. Never in a signed token.
   */
  readonly origin?: 'legacy' | 'foreign';
}

/** Kept from token to token, since a refresh knows of the log-in only what its token says. */
export interface LogInTerms {
  /** When the session ends, in seconds since the epoch, if before `session.maxAge`. */
  readonly end?: number;
  /** Whether its cookies outlive the browser. */
  readonly persistent?: boolean;
}

/** The claims that belong to this module: neither claims source nor changes can set them. */
export interface ReservedClaims {
  /** Issuer (RFC 7519 §4.1.1). */
  readonly iss?: string;
  /** Subject (RFC 7519 §4.1.2); numeric user ids are kept as strings. */
  readonly sub: string;
  /** Audience (RFC 7519 §4.1.3). */
  readonly aud?: string | readonly string[];
  /** Expires at, in seconds since the epoch (RFC 7519 §4.1.4). */
  readonly exp: number;
  /** Not before, in seconds since the epoch (RFC 7519 §4.1.5). */
  readonly nbf?: number;
  /** Issued at, in seconds since the epoch (RFC 7519 §4.1.6). */
  readonly iat: number;
  /** The id of this one token, a UUIDv7 (RFC 7519 §4.1.7). */
  readonly jti: string;
  /** The session that a log-in started; every reissue keeps it (OIDC `sid`). */
  readonly sid: string;
  /** When that log-in happened, in seconds since the epoch (OIDC Core §2). */
  readonly auth_time: number;
  /** Which changes this token already knows of. */
  readonly seen: Seen;
}

/**
 * A token whose signature and claims were checked: its payload. `request.user` and
 * `@CurrentToken()` hold one, with the claims that are true now.
 *
 * @example
 * ```ts
 * type AppToken = VerifiedToken<{ plan: 'free' | 'premium' }>;
 * ```
 *
 * @publicApi
 */
export type VerifiedToken<C extends Claims = Claims> = ReservedClaims & Readonly<C>;

/** By its looks: whether it was verified cannot be seen. */
export function isVerifiedToken(value: unknown): value is VerifiedToken {
  return typeof value === 'object' && value !== null && 'jti' in value && 'seen' in value;
}

export const RESERVED_CLAIMS: ReadonlySet<string> = new Set([
  'iss',
  'sub',
  'aud',
  'exp',
  'nbf',
  'iat',
  'jti',
  'sid',
  'auth_time',
  'seen',
]);

/** The part of a payload that the application put there. */
export function applicationClaims(token: VerifiedToken): Claims {
  return pick(token, (name) => !RESERVED_CLAIMS.has(name));
}

/** The same token with other application claims. */
export function withClaims(token: VerifiedToken, claims: Claims): VerifiedToken {
  const reserved = pick(token, (name) => RESERVED_CLAIMS.has(name)) as unknown as ReservedClaims;
  return { ...claims, ...reserved };
}

function pick(token: VerifiedToken, wanted: (name: string) => boolean): Claims {
  return Object.fromEntries(Object.entries(token).filter(([name]) => wanted(name)));
}

/** The same object, which nobody can change any more: requests share it. */
export function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const member of Object.values(value)) frozen(member);
  return Object.freeze(value);
}
