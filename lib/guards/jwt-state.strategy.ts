import type { KeyObject } from 'node:crypto';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-jwt';
import { v7 as uuidv7 } from 'uuid';
import type { CredentialReader } from '../delivery/credential-reader.js';
import type { AnyRequest } from '../delivery/raw-http.js';
import { TokenInvalidError, TokenMissingError } from '../jwt-state.errors.js';
import type { Candidate, TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** How the names of this module's strategies begin. */
export const OWN_STRATEGY = 'jwt-state-';

/** A token between the steps of passport-jwt. */
interface UnderWay {
  readonly text: string;
  readonly candidate: Candidate;
  key?: KeyObject;
}

/** Tells what went wrong on the way to the key from a signature that does not match. */
class KeyLookupFailure {
  constructor(readonly cause: unknown) {}
}

/** Why passport-jwt has refused, in this module's terms. */
export function refusalOf(info: unknown): unknown {
  // It takes whatever keeps it from finding a key for a reason to refuse the token.
  if (info instanceof KeyLookupFailure) return info.cause;
  const isMissing = info instanceof Error && info.message === 'No auth token';
  return isMissing
    ? new TokenMissingError()
    : new TokenInvalidError('its signature does not match');
}

/** Its types know of no `KeyObject`. */
type KeyReceiver = (error: unknown, key?: never) => void;

/**
 * passport-jwt checks the signature; what comes before and after it is the verifier's. No store is
 * asked here: garbage must not be able to load it.
 */
@Injectable()
export class JwtStateStrategy extends PassportStrategy(Strategy) implements OnApplicationShutdown {
  /** Passport's registry is one for the process, and this module may be there twice. */
  override readonly name = `${OWN_STRATEGY}${uuidv7()}`;
  private readonly underWay: WeakMap<object, UnderWay>;

  constructor(
    credentials: CredentialReader,
    private readonly verifier: TokenVerifier,
  ) {
    const underWay = new WeakMap<object, UnderWay>();
    super({
      jwtFromRequest: (request: AnyRequest) => {
        const text = credentials.read(request)?.token ?? null;
        if (text !== null) underWay.set(request, { text, candidate: verifier.inspect(text) });
        return text;
      },
      secretOrKeyProvider: (request: AnyRequest, _token: unknown, done: KeyReceiver) => {
        // A promise in any case: what `done` throws on the way must find somebody who catches it.
        const find = async () => {
          const check = underWay.get(request) as UnderWay;
          check.key = await verifier.keyFor(check.candidate);
          return check.key;
        };
        find()
          .then(
            (key) => done(null, key as never),
            (cause) => done(new KeyLookupFailure(cause)),
          )
          .catch(done);
      },
      // A key belongs to one of them, and is found by that.
      algorithms: verifier.algorithms,
      // Times are checked in `validate`, by this module's clock.
      ignoreExpiration: true,
      jsonWebTokenOptions: { ignoreNotBefore: true },
      passReqToCallback: true,
    });
    this.underWay = underWay;
    passport.use(this.name, this);
  }

  validate(request: AnyRequest, payload: unknown): VerifiedToken {
    const { text, candidate, key } = this.underWay.get(request) as Required<UnderWay>;
    const token = this.verifier.accept(payload, candidate);
    this.verifier.remember({ text, token, candidate, key });
    return token;
  }

  /**
   * passport-jwt by itself, for a token's first sight. `passport.authenticate()` would assign a
   * handful of function literals to the attempt. V8 puts such functions into the old space, where
   * they hold their request until the next full collection, and takes the allocations of a request
   * for long-lived from then on.
   *
   * @throws the refusals of {@link refusalOf}, and what `validate` or the look for the key throws
   */
  check(request: AnyRequest): Promise<VerifiedToken> {
    return new Promise((resolve, reject) => {
      const outcome = {
        success: resolve,
        fail: (info: unknown) => reject(refusalOf(info)),
        error: reject,
      };
      const attempt: this = Object.assign(Object.create(this), outcome);
      attempt.authenticate(request as never);
    });
  }

  /** A token that was checked before. @throws TokenInvalidError, TokenExpiredError */
  recall(text: string): VerifiedToken | undefined {
    return this.verifier.recall(text);
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
