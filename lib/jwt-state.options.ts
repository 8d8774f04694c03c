import type { Cache } from 'cache-manager';
import type { CookieOptions, RefreshCookieOptions } from './config/cookie.options.js';
import type { Duration } from './duration.js';
import type { KeyOptions, KeysOption } from './keys/key-options.js';
import type { SubjectOf } from './token/adopted-token.js';
import type { VerifiedToken } from './token/verified-token.js';

export {
  CookieOptions,
  FormerCookieOptions,
  RefreshCookieOptions,
} from './config/cookie.options.js';

/**
 * The application's function that reads the truth: the claims this subject should carry now, or
 * `null` when the subject may hold no token any more. It must read what the last commit wrote
 * (the primary, not a lagging replica).
 *
 * `previous` is the token being replaced, `undefined` at a log-in: claims that belong to the
 * session rather than to the user (a chosen tenant) are found there.
 *
 * @example
 * ```ts
 * claims: async (subject) => {
 *   const user = await users.findById(subject);
 *   return user ? { plan: user.plan, role: user.role } : null;
 * }
 * ```
 */
export type ClaimsSource = (
  subject: string,
  previous: VerifiedToken | undefined,
) => object | null | Promise<object | null>;

/** The access tokens this service issues. */
export class AccessTokenOptions {
  /** From issue to `exp`. */
  expiresIn?: Duration = '15m';
}

/** The deny list: where marks and successors are kept, and what happens when it fails. */
export class DenyListOptions {
  /**
   * A cache-manager cache over exactly one Keyv store. In memory by default: good for one process
   * and for tests; a restart then ends every session.
   */
  cache?: Cache | undefined = undefined;
  /** Begins every key. Services that share tokens share it. */
  prefix?: string = 'jst:';
  /** How long one look-up or write may take before the store counts as not answering. */
  lookupTimeout?: Duration = '150ms';
  /** A store that cannot answer: `reject` the request with 503, or `accept` it unchecked. */
  onUnavailable?: 'reject' | 'accept' = 'reject';
  /**
   * A store that has lost its entries: `reject` older tokens (401), `reissue` them from the claims
   * source (this revives revoked sessions), or `accept` them.
   */
  onLoss?: 'reject' | 'reissue' | 'accept' = 'reject';
  /**
   * The longest lifetime any token has in any service on this store: revocations are kept that
   * long. By default the longest one configured here. Before you shorten a lifetime, keep the old
   * one here until the old tokens have expired.
   */
  longestLifetime?: Duration | undefined = undefined;
  /** Further claims that can be revoked and marked stale by value, such as `['tenant']`. */
  claims?: readonly string[] = [];
}

/** How tokens are replaced. */
export class ReissueOptions {
  /** How long a superseded token still leads to its successor, from the first replacement. */
  gracePeriod?: Duration = '30s';
  /** Whether a reissued token keeps the `exp` of the one it replaces or gets a new one. */
  expiry?: 'keep' | 'renew' = 'keep';
  /** How long the claims source may take. */
  claimsTimeout?: Duration = '5s';
  /** How long a `@ReissuesToken()` handler may take until it has committed. */
  handlerTimeout?: Duration = '60s';
}

/** How a new token travels to the client. */
export class DeliveryOptions {
  /**
   * The response header. `Authorization` carries `Bearer <token>`, any other header the bare
   * token. On by default, unless a cookie is configured.
   */
  header?: string | false | undefined = undefined;
  /** An HttpOnly cookie; the guard then takes the token from there too. */
  cookie?: CookieOptions | boolean = false;
  /** A field added to the JSON object that is answered when there is a new token. */
  body?: string | false = false;
}

/** Refresh tokens (RFC 6749 §1.5): long sessions on short-lived access tokens. */
export class RefreshTokenOptions {
  /** Idle lifetime. Each refresh restarts it, up to `session.maxAge`. */
  expiresIn?: Duration = '14d';
  /** In a cookie of the refresh route; otherwise the token travels in the body. */
  cookie?: RefreshCookieOptions | boolean = false;
  /**
   * Take a store that has no atomic "set if absent", though two processes can then both exchange
   * one refresh token, and log the user out.
   */
  allowNonAtomicStore?: boolean = false;
}

/** The endpoint at which a client fetches a new token. Fixed at import: see `forRootAsync`. */
export class RefreshOptions {
  /** `POST` here; `false` leaves it out. */
  path?: string | false = 'auth/refresh-token';
  /**
   * Whether an access token that is still valid is exchanged, too. Default: only where there are no
   * refresh tokens, or one that was stolen could be renewed for as long as the session may last; and
   * while `legacy` is set, whose sessions have no refresh token.
   */
  accessTokens?: boolean | undefined = undefined;
  /** With refresh tokens a log-in brings a pair, and an expired access token is no matter. */
  tokens?: RefreshTokenOptions | false = false;
}

/** The application's own tokens from before it used this module. */
export class LegacyOptions {
  /** What they were signed with. Default: `keys`. */
  keys?: KeyOptions | undefined = undefined;
  /**
   * The longest lifetime they have; what has no `exp` ends that long after its `iat`. Default:
   * `session.maxAge`.
   */
  expiresIn?: Duration | undefined = undefined;
  /** Their `iss`; `'*'`: any. Default: `issuer`, where they name one at all. */
  issuer?: string | undefined = undefined;
  /** Their `aud`; `'*'`: any. Default: `audience`, where they name one at all. */
  audience?: string | readonly string[] | undefined = undefined;
  /** Whose a token is, by its claims; `undefined`: it is not accepted. Default: `sub`. */
  subject?: SubjectOf | undefined = undefined;
}

/** Another issuer whose tokens are accepted: an identity provider, another product. */
export class ForeignIssuerOptions {
  /** Its `iss` (RFC 7519 §4.1.1). Required. */
  issuer: string = undefined as never;
  /** A token must name at least one of these (RFC 9068 §4). Required. */
  audience: string | readonly string[] = undefined as never;
  /** Its public keys, mostly `{ jwksUri, algorithms }`. Required. */
  keys: KeysOption = undefined as never;
  /** The longest lifetime its tokens have. Required: revocations are kept that long. */
  expiresIn: Duration = undefined as never;
  /** The `typ` its tokens may have; `''` for none. */
  types?: readonly string[] = ['at+jwt', 'JWT'];
  /**
   * Whose a token is, by its claims; `undefined`: it is not accepted. Default: `sub`, which must
   * then be nobody else's here.
   */
  subject?: SubjectOf | undefined = undefined;
}

/** What a log-in starts. */
export class SessionOptions {
  /** From the log-in (`auth_time`) on, however often the token is renewed. */
  maxAge?: Duration = '30d';
}

/**
 * The options of `JwtStateModule`. The initial values are the defaults; a name that is not listed
 * here stops the boot.
 *
 * @publicApi
 */
export class JwtStateOptions {
  /**
   * With what tokens are signed and verified: one key, a list (the first signs, all verify), or
   * the JWK Set of the issuing service. Required, unless only `foreignIssuers` are served.
   */
  keys?: KeysOption | undefined = undefined;
  /**
   * `iss` of the tokens, demanded of every token (RFC 7519 §4.1.1). Without a value tokens have none, and one
   * that names an issuer is refused; `'*'` accepts any issuer.
   */
  issuer?: string | undefined = undefined;
  /**
   * `aud` of the tokens; a token must name at least one of them (RFC 7519 §4.1.3). Without a value tokens have
   * none, and a token that names an audience is refused; `'*'` accepts any audience.
   */
  audience?: string | readonly string[] | undefined = undefined;
  /** How far the clocks of issuer and verifier may differ. */
  clockTolerance?: Duration = '5s';
  accessToken?: AccessTokenOptions = new AccessTokenOptions();
  /**
   * How many tokens are remembered (for a while up to twice as many) whose signature was checked, so
   * that it is checked once and not with every request; `0`: none. Times and the deny list are looked
   * at every time.
   */
  verifiedTokens?: number = 10_000;
  /** The function that reads the truth. Without it, only explicit changes are reissued. */
  claims?: ClaimsSource | undefined = undefined;
  /** `false`: none, tokens end by `exp` alone. Fixed at import: see `forRootAsync`. */
  denyList?: DenyListOptions | false = new DenyListOptions();
  reissue?: ReissueOptions = new ReissueOptions();
  delivery?: DeliveryOptions = new DeliveryOptions();
  refresh?: RefreshOptions = new RefreshOptions();
  session?: SessionOptions = new SessionOptions();
  /**
   * `'global'` guards every route that is not `@Public()`, before every other guard. Fixed at import: see
   * `forRootAsync`.
   */
  guard?: 'global' | undefined = undefined;
  /**
   * Publishes the public keys (RFC 7517) at `GET /.well-known/jwks.json`, or at the given path.
   * Fixed at import: see `forRootAsync`.
   */
  jwks?: boolean | string = false;
  /**
   * Accepts the application's own tokens from before it used this module: `'reissue'`, or more
   * about them. The first request trades them in.
   */
  legacy?: LegacyOptions | 'reissue' | undefined = undefined;
  /** Accepts tokens of other issuers. They cannot be reissued here. */
  foreignIssuers?: readonly ForeignIssuerOptions[] = [];
}

/** What shapes the module itself, and so is given beside `useFactory`, not by it. */
export type StaticOptions = Pick<JwtStateOptions, 'guard' | 'refresh' | 'jwks' | 'denyList'>;

/** For `forRootAsync({ useClass })` and `useExisting`. */
export interface JwtStateOptionsFactory {
  createJwtStateOptions(): Promise<JwtStateOptions> | JwtStateOptions;
}
