import type { Clock } from '../clock.js';
import { SessionExpiredError, TokenTooLargeError } from '../jwt-state.errors.js';
import { IssuedToken } from './issued-token.js';
import { ACCESS_TOKEN_TYPE } from './token-rules.js';
import type { TokenSigner } from './token-signer.js';
import type { ReservedClaims, VerifiedToken } from './verified-token.js';

export interface MintSettings {
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | undefined;
  /** Milliseconds, whole seconds. */
  readonly lifetime: number;
  readonly sessionMaxAge: number;
  /** The largest token a client can send back, in bytes. */
  readonly sizeLimit: number;
}

/** Signs access tokens, and knows what each of them gets: times, parties, a size. */
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
  freshExpiry(readAt: number, authTime: number): number {
    const { lifetime, sessionMaxAge } = this.settings;
    const end = authTime + sessionMaxAge / 1000;
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

  sign(claims: VerifiedToken): IssuedToken {
    const accessToken = this.signer.sign(claims, ACCESS_TOKEN_TYPE);
    if (accessToken.length > this.settings.sizeLimit) {
      throw new TokenTooLargeError(accessToken.length, this.settings.sizeLimit);
    }
    const expiresIn = Math.max(0, claims.exp - toSeconds(this.clock.now()));
    return new IssuedToken({ accessToken, claims, expiresIn });
  }
}

export function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
