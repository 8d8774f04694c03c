import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-jwt';
import { v7 as uuidv7 } from 'uuid';
import type { CredentialReader } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import type { Candidate, TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** Its types know of no `KeyObject`. */
type KeyReceiver = (error: unknown, key?: never) => void;

/**
 * passport-jwt checks the signature; what comes before and after it is the verifier's. No store is
 * asked here: garbage must not be able to load it.
 */
@Injectable()
export class JwtStateStrategy extends PassportStrategy(Strategy) implements OnApplicationShutdown {
  /** Passport's registry is one for the process, and this module may be there twice. */
  override readonly name = `jwt-state-${uuidv7()}`;
  private readonly candidates: WeakMap<object, Candidate>;

  constructor(
    credentials: CredentialReader,
    private readonly verifier: TokenVerifier,
  ) {
    const candidates = new WeakMap<object, Candidate>();
    super({
      jwtFromRequest: (request: AnyRequest) => {
        const token = credentials.read(request)?.token ?? null;
        if (token !== null) candidates.set(request, verifier.inspect(token));
        return token;
      },
      secretOrKeyProvider: (request: AnyRequest, _token: unknown, done: KeyReceiver) => {
        // A promise in any case: what `done` throws on the way must find somebody who catches it.
        const find = async () => verifier.keyFor(candidates.get(request) as Candidate);
        find()
          .then((key) => done(null, key as never))
          .catch(done);
      },
      // A key belongs to one of them, and is found by that.
      algorithms: verifier.algorithms,
      // Times are checked in `validate`, by this module's clock.
      ignoreExpiration: true,
      jsonWebTokenOptions: { ignoreNotBefore: true },
      passReqToCallback: true,
    });
    this.candidates = candidates;
    passport.use(this.name, this);
  }

  validate(request: AnyRequest, payload: unknown): VerifiedToken {
    return this.verifier.accept(payload, this.candidates.get(request) as Candidate);
  }

  /** Not before the server has closed: requests go on until then. */
  onApplicationShutdown(): void {
    passport.unuse(this.name);
  }

  /** The base class would register `jwt`, the name of an application's own strategy. */
  getPassportInstance() {
    return { use: () => {} };
  }
}
