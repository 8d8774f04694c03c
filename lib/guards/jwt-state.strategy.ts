import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-jwt';
import { v7 as uuidv7 } from 'uuid';
import type { CredentialReader } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import type { SigningKeys } from '../token/signing-keys.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/**
 * passport-jwt checks the signature; what comes before and after it is the verifier's. No store is
 * asked here: garbage must not be able to load it.
 */
@Injectable()
export class JwtStateStrategy extends PassportStrategy(Strategy) implements OnModuleDestroy {
  /** Passport's registry is one for the process, and this module may be there twice. */
  override readonly name = `jwt-state-${uuidv7()}`;

  constructor(
    credentials: CredentialReader,
    private readonly verifier: TokenVerifier,
    keys: SigningKeys,
  ) {
    super({
      jwtFromRequest: (request: AnyRequest) => {
        const token = credentials.read(request)?.token ?? null;
        if (token !== null) verifier.inspect(token);
        return token;
      },
      secretOrKeyProvider: (
        _request: unknown,
        _token: unknown,
        done: (error: unknown, key?: never) => void,
      ) => done(null, keys.verificationKey as never),
      algorithms: [keys.algorithm],
      // Times are checked in `validate`, by this module's clock.
      ignoreExpiration: true,
      jsonWebTokenOptions: { ignoreNotBefore: true },
    });
    passport.use(this.name, this);
  }

  validate(payload: unknown): VerifiedToken {
    return this.verifier.accept(payload);
  }

  onModuleDestroy(): void {
    passport.unuse(this.name);
  }

  /** The base class would register `jwt`, the name of an application's own strategy. */
  getPassportInstance() {
    return { use: () => {} };
  }
}
