import { createHash } from 'node:crypto';
import { stringify } from 'uuid';
import { TokenInvalidError } from '../jwt-state.errors.js';
import { DEEPEST_CLAIMS, isDeeperThan } from './json-value.js';
import { checkClaims, isIdentifier, isTime, type TokenRules } from './token-rules.js';
import type { VerifiedToken } from './verified-token.js';

/** The payload of a token that this module did not make. */
export type ForeignClaims = Readonly<Record<string, unknown>>;

/** Whose token it is; `undefined`: this one is not accepted. */
export type SubjectOf = (claims: ForeignClaims) => string | number | undefined;

/** How a token that this module did not make is brought into its terms. */
export interface AdoptionSettings {
  readonly origin: 'legacy' | 'foreign';
  readonly subject: SubjectOf;
  /** The lifetime, in ms, of a legacy token that names no `exp`. */
  readonly lifetime: number;
  /** Whether a token must name its issuer and audience, or only name no other. */
  readonly demands: { readonly issuer: boolean; readonly audience: boolean };
}

/**
 * A token that this module did not make, in its terms. It has seen no marks: they are held against
 * its `iat`. What it lacks is derived from its signed claims, never from its text, whose signature
 * could be written in more than one way.
 *
 * @throws TokenInvalidError, TokenExpiredError
 */
export function adopt(
  payload: ForeignClaims,
  settings: AdoptionSettings,
  rules: TokenRules,
  now: number,
  options?: { ignoreExpiration?: boolean },
): VerifiedToken {
  // What a successor could not carry (`checkedClaims`) is not taken in either.
  if (isDeeperThan(DEEPEST_CLAIMS, payload)) throw new TokenInvalidError('it is nested too deeply');
  const named = settings.origin === 'legacy' ? legacy(payload, settings) : foreign(payload);
  const token = checkClaims(
    { ...named, sub: subjectOf(payload, settings), seen: { epoch: '' } },
    rulesFor(payload, settings, rules),
    now,
    options,
  );
  return { ...token, seen: { epoch: '', origin: settings.origin } };
}

/** Its own ids are not used: what an application kept under these names may not be unique. */
function legacy(payload: ForeignClaims, { lifetime }: AdoptionSettings): ForeignClaims {
  const { iat, exp } = payload;
  const id = derivedId('legacy', payload);
  return {
    ...payload,
    jti: id,
    sid: id,
    auth_time: iat,
    exp: exp === undefined && isTime(iat) ? iat + lifetime / 1000 : exp,
  };
}

/**
 * Its ids are its issuer's: taken as they are, they could be those of a token or session of ours,
 * and would then be answered for, or end it.
 */
function foreign(payload: ForeignClaims): ForeignClaims {
  const { iss, jti, sid, iat, auth_time } = payload;
  if (!isIdentifier(jti)) throw new TokenInvalidError('its jti is not an id');
  return {
    ...payload,
    jti: derivedId('foreign-jti', { iss, jti }),
    sid: derivedId('foreign-sid', isIdentifier(sid) ? { iss, sid } : { iss, jti }),
    auth_time: isTime(auth_time) ? auth_time : iat,
  };
}

/** What it does not name cannot be another's, unless it must name it. */
function rulesFor(
  { iss, aud }: ForeignClaims,
  { demands }: AdoptionSettings,
  rules: TokenRules,
): TokenRules {
  return {
    ...rules,
    issuer: demands.issuer || iss !== undefined ? rules.issuer : undefined,
    audience: demands.audience || aud !== undefined ? rules.audience : undefined,
  };
}

function subjectOf(payload: ForeignClaims, { subject }: AdoptionSettings): string {
  const value = ask(subject, payload);
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (isIdentifier(text)) return text;
  throw new TokenInvalidError('its subject is not one of ours');
}

/** The application's function meets claims that anybody's issuer wrote. */
function ask(subject: SubjectOf, payload: ForeignClaims) {
  try {
    return subject(payload);
  } catch {
    throw new TokenInvalidError('its subject cannot be read');
  }
}

/** The same claims always have the same id: a UUIDv8 (RFC 9562 §5.8) of their SHA-256. */
function derivedId(kind: string, claims: ForeignClaims): string {
  const hash = createHash('sha256')
    .update(`${kind}:${JSON.stringify(claims)}`)
    .digest();
  const bytes = Uint8Array.from(hash.subarray(0, 16));
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return stringify(bytes);
}
