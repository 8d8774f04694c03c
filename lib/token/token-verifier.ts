import { JwtService } from '@nestjs/jwt';
import type { Clock } from '../clock.js';
import { TokenInvalidError } from '../jwt-state.errors.js';
import { ACCESS_TOKEN_TYPE, checkClaims, checkForm, type TokenRules } from './token-rules.js';
import type { VerifiedToken } from './verified-token.js';

/**
 * Signature and claims; never the deny list. Three steps: {@link TokenVerifier.inspect} before the
 * signature, the signature (here by @nestjs/jwt, in the guard by passport-jwt), and
 * {@link TokenVerifier.accept} after it.
 */
export class TokenVerifier {
  constructor(
    private readonly jwt: JwtService,
    readonly rules: TokenRules,
    private readonly clock: Clock,
  ) {}

  /** All three steps, for an access token. @throws TokenInvalidError, TokenExpiredError */
  verify(token: string, options?: { ignoreExpiration?: boolean }): VerifiedToken {
    this.inspect(token);
    return this.accept(this.checkSignature(token), options);
  }

  /** Before the signature: form, algorithm, type. */
  inspect(token: string): void {
    checkForm(token, ACCESS_TOKEN_TYPE, this.rules);
  }

  /** After the signature: the claims. */
  accept(payload: unknown, options?: { ignoreExpiration?: boolean }): VerifiedToken {
    return checkClaims(payload, this.rules, this.clock.now(), options);
  }

  /** The signed payload of a JWT of another type; its claims are the caller's to check. */
  open(token: string, type: string): unknown {
    checkForm(token, type, this.rules);
    return this.checkSignature(token);
  }

  private checkSignature(token: string): unknown {
    try {
      return this.jwt.verify(token, {
        algorithms: [this.rules.algorithm],
        // Times are checked once, in checkClaims, by this module's clock.
        ignoreExpiration: true,
        ignoreNotBefore: true,
      });
    } catch {
      // The library's message may quote the token's parts; ours does not.
      throw new TokenInvalidError('its signature does not match');
    }
  }
}
