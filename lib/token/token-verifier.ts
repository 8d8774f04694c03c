import type { KeyObject } from 'node:crypto';
import type { JwtService } from '@nestjs/jwt';
import type { Clock } from '../clock.js';
import { TokenInvalidError } from '../jwt-state.errors.js';
import type { Algorithm } from '../keys/key-options.js';
import type { KeyQuery } from '../keys/verification-keys.js';
import { adopt, type ForeignClaims } from './adopted-token.js';
import { openRefreshToken } from './refresh-token-form.js';
import { isObject, readForm, type TokenForm } from './token-form.js';
import type { AccessProfiles, TokenProfile } from './token-profile.js';
import { checkClaims, checkTimes } from './token-rules.js';
import { REFRESH_TOKEN_TYPE } from './token-types.js';
import { frozen, type VerifiedToken } from './verified-token.js';
import type { CheckedToken, VerifiedTokens } from './verified-tokens.js';

/** A token whose form is right: what its signature has to be checked with. */
export interface Candidate {
  readonly profile: TokenProfile;
  readonly query: KeyQuery;
}

interface VerifyOptions {
  ignoreExpiration?: boolean;
}

/**
 * Signature and claims; never the deny list. Three steps: {@link inspect} before the signature, the
 * signature (here by @nestjs/jwt, in the guard by passport-jwt) with {@link keyFor}, and
 * {@link accept} after it.
 */
export class TokenVerifier {
  constructor(
    private readonly jwt: JwtService,
    private readonly access: AccessProfiles,
    private readonly clock: Clock,
    private readonly checked: VerifiedTokens,
  ) {}

  /** What any access token may be signed with. */
  get algorithms(): Algorithm[] {
    const { own, legacy, foreign } = this.access;
    const profiles = [own, ...(legacy ? [legacy] : []), ...foreign.values()];
    return [...new Set(profiles.flatMap(({ keys }) => keys.algorithms))];
  }

  /** An access token. @throws TokenInvalidError, TokenExpiredError, KeysUnavailableError */
  async verify(token: string, options?: VerifyOptions): Promise<VerifiedToken> {
    const isText = typeof token === 'string';
    const known = isText && options === undefined ? this.recall(token) : undefined;
    if (known) return known;
    const candidate = this.inspect(token);
    return this.accept(await this.checkSignature(token, candidate), candidate, options);
  }

  /**
   * An access token whose signature was checked before, with a key that is still in use. Its times
   * are held against now. `undefined`: this one has to be checked.
   *
   * @throws TokenInvalidError, TokenExpiredError
   */
  recall(text: string): VerifiedToken | undefined {
    const known = this.checked.get(text);
    if (known === undefined) return undefined;
    const { candidate, key, token } = known;
    const current = candidate.profile.keys.find(candidate.query);
    if (current !== key) {
      // Where nobody can say, the check that follows will hear so itself.
      if (current instanceof Promise) current.catch(() => {});
      this.checked.delete(text);
      return undefined;
    }
    checkTimes(token, candidate.profile.rules, this.clock.now());
    return token;
  }

  /** Spares this token its next check. */
  remember(checked: CheckedToken): void {
    this.checked.add(checked);
  }

  /** A refresh token. @throws TokenInvalidError, TokenExpiredError, KeysUnavailableError */
  async verifyRefreshToken(token: string, options?: VerifyOptions): Promise<VerifiedToken> {
    const payload = openRefreshToken(await this.open(token, REFRESH_TOKEN_TYPE));
    return checkClaims(payload, this.access.own.rules, this.clock.now(), options);
  }

  /** The signed payload of a record of this module; its claims are the caller's to check. */
  async open(token: string, type: string): Promise<unknown> {
    const candidate = candidateOf(readForm(token), { ...this.access.own, types: [type] });
    return this.checkSignature(token, candidate);
  }

  /** Before the signature: form, algorithm, type. @throws TokenInvalidError */
  inspect(token: string): Candidate {
    const form = readForm(token);
    return candidateOf(form, this.profileOf(form));
  }

  /** @throws TokenInvalidError when there is no such key, KeysUnavailableError */
  keyFor({ profile, query }: Candidate): KeyObject | Promise<KeyObject> {
    const found = profile.keys.find(query);
    return found instanceof Promise ? found.then(known) : known(found);
  }

  /** After the signature: the claims. @throws TokenInvalidError, TokenExpiredError */
  accept(payload: unknown, { profile }: Candidate, options?: VerifyOptions): VerifiedToken {
    const { adoption, rules } = profile;
    const now = this.clock.now();
    const token =
      adoption && isObject(payload)
        ? adopt(payload as ForeignClaims, adoption, rules, now, options)
        : checkClaims(payload, rules, now, options);
    return frozen(token);
  }

  /** An `iss` that is not signed yet chooses whose keys are tried, and must prove true by them. */
  private profileOf({ payload, type }: TokenForm): TokenProfile {
    const { own, legacy, foreign } = this.access;
    const other = typeof payload.iss === 'string' ? foreign.get(payload.iss) : undefined;
    if (other) return other;
    return legacy?.types.includes(type) ? legacy : own;
  }

  private async checkSignature(token: string, candidate: Candidate): Promise<unknown> {
    const key = await this.keyFor(candidate);
    try {
      return this.jwt.verify(token, {
        secret: key as never,
        algorithms: [candidate.query.alg],
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

function candidateOf({ alg, kid, type }: TokenForm, profile: TokenProfile): Candidate {
  if (!profile.keys.accepts(alg)) throw new TokenInvalidError('its algorithm is not accepted');
  if (!profile.types.includes(type)) throw new TokenInvalidError('it is of another type');
  if (kid !== undefined && typeof kid !== 'string') {
    throw new TokenInvalidError('its key is not known');
  }
  return { profile, query: { alg, kid } };
}

function known(key: KeyObject | undefined): KeyObject {
  if (key) return key;
  throw new TokenInvalidError('its key is not known');
}

/** What a token says it is; whether that is true, its signature tells. @throws TokenInvalidError */
export function isRefreshToken(token: string): boolean {
  return readForm(token).type === REFRESH_TOKEN_TYPE;
}
