import type { Clock } from '../clock.js';
import { SessionExpiredError, TokenTooLargeError } from '../jwt-state.errors.js';
import { IssuedToken } from './issued-token.js';
import { sealRefreshToken } from './refresh-token-form.js';
import { nextTokenId, timeOfTokenId, tokenIdAt } from './token-id.js';
import type { TokenSigner } from './token-signer.js';
import { ACCESS_TOKEN_TYPE, REFRESH_TOKEN_TYPE } from './token-types.js';
import type { ReservedClaims, Seen, VerifiedToken } from './verified-token.js';

/** What `seen.prev`, a UUID, takes in the text of a token. */
const PREV_LENGTH = 64;

export interface RefreshTokenSettings {
  readonly lifetime: number;
  readonly inBody: boolean;
  readonly sizeLimit: number;
}

export interface MintSettings {
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | undefined;
  /** Milliseconds, whole seconds. */
  readonly lifetime: number;
  readonly sessionMaxAge: number;
  /** Whether access tokens are in JSON answers: unless a cookie carries them. */
  readonly inBody: boolean;
  /** Where sessions have refresh tokens; `inBody` unless a cookie carries them. */
  readonly refreshTokens: RefreshTokenSettings | undefined;
  /** The largest token a client can send back, in bytes. */
  readonly sizeLimit: number;
}

/** What of a token says how long its session may last. */
export interface SessionBounds {
  readonly auth_time: number;
  readonly seen: Pick<Seen, 'login'>;
}

/** Signs tokens, and knows what each of them gets: times, parties, a size. */
export class TokenMint {
  constructor(
    private readonly signer: TokenSigner,
    private readonly clock: Clock,
    private readonly settings: MintSettings,
  ) {}

  get canSign(): boolean {
    return this.signer.canSign;
  }

  /**
   * The `exp` of a token made now, in seconds; never beyond the greatest age of its session.
   *
   * @throws SessionExpiredError when that has passed
   */
  freshExpiry(readAt: number, session: SessionBounds): number {
    return this.expiryOf(this.settings.lifetime, readAt, session);
  }

  private expiryOf(lifetime: number, readAt: number, { auth_time, seen }: SessionBounds): number {
    const oldest = auth_time + this.settings.sessionMaxAge / 1000;
    const end = Math.min(oldest, seen.login?.end ?? oldest);
    if (end * 1000 <= readAt) throw new SessionExpiredError();
    return Math.min(toSeconds(readAt) + lifetime / 1000, end);
  }

  /** `iss` and `aud` of a new session; its reissues keep them. */
  get parties(): Pick<ReservedClaims, 'iss' | 'aud'> {
    const { issuer, audience } = this.settings;
    const [only, ...others] = audience ?? [];
    return {
      ...(issuer !== undefined && { iss: issuer }),
      ...(only !== undefined && { aud: others.length === 0 ? only : audience }),
    };
  }

  /** @param refresh the refresh token that goes with it, from {@link refreshTokenFor} */
  sign(claims: VerifiedToken, refresh?: VerifiedToken): IssuedToken {
    return new IssuedToken({
      accessToken: within(this.settings.sizeLimit, this.signer.sign(claims, ACCESS_TOKEN_TYPE)),
      inBody: this.settings.inBody,
      claims,
      expiresIn: this.secondsLeft(claims),
      ...(refresh && { refresh: this.signRefreshToken(refresh) }),
    });
  }

  /**
   * The refresh token of the session of a new access token. It holds the same claims: where nothing
   * else knows them (no claims source, or a tenant the session has chosen), the next access token
   * is made from these, and knows the stale marks that they do; none ends a refresh token itself.
   *
   * @param predecessor the refresh token it replaces
   * @returns `undefined` where sessions have none
   */
  refreshTokenFor(access: VerifiedToken, predecessor?: VerifiedToken): VerifiedToken | undefined {
    const { refreshTokens } = this.settings;
    if (!refreshTokens) return undefined;
    const { until, stale, ...known } = access.seen;
    // What is provisional knows of no mark for as long as a refresh token lives.
    const seen = {
      ...known,
      ...(stale && until === undefined && { stale }),
      ...(predecessor && { prev: predecessor.jti }),
    };
    const jti = nextTokenId(this.clock.now(), predecessor?.jti);
    const exp = this.expiryOf(refreshTokens.lifetime, access.iat * 1000, access);
    return { ...access, jti, exp, seen };
  }

  /**
   * The refresh token that comes with an access token: it holds the same claims, knows the same
   * revocations, and has the same ms in its `jti`.
   *
   * @param gen how often the session's refresh tokens were used before it
   * @returns `undefined` where sessions have none
   */
  refreshTokenOf(access: VerifiedToken, gen: number): VerifiedToken | undefined {
    const { refreshTokens } = this.settings;
    if (!refreshTokens) return undefined;
    const { until, stale, gen: _, ...known } = access.seen;
    const seen = {
      ...known,
      ...(gen > 0 && { gen }),
      // What is provisional knows of no mark for as long as a refresh token lives.
      ...(stale && until === undefined && { stale }),
    };
    const jti = tokenIdAt(timeOfTokenId(access.jti) ?? this.clock.now());
    const exp = this.expiryOf(refreshTokens.lifetime, access.iat * 1000, access);
    return { ...access, jti, exp, seen };
  }

  private signRefreshToken(claims: VerifiedToken) {
    const { inBody, sizeLimit } = this.settings.refreshTokens as RefreshTokenSettings;
    // Its successors will be larger by the name of their predecessor: what does not fit fails at log-in.
    const limit = claims.seen.prev === undefined ? sizeLimit - PREV_LENGTH : sizeLimit;
    const token = within(limit, this.signer.sign(sealRefreshToken(claims), REFRESH_TOKEN_TYPE));
    return { token, claims, expiresIn: this.secondsLeft(claims), inBody };
  }

  private secondsLeft({ exp }: VerifiedToken): number {
    return Math.max(0, exp - toSeconds(this.clock.now()));
  }
}

function within(limit: number, token: string): string {
  if (token.length <= limit) return token;
  throw new TokenTooLargeError(token.length, limit);
}

export function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
