import { isDeepStrictEqual } from 'node:util';
import { isObject } from '../token/token-form.js';
import { timeOfTokenId } from '../token/token-id.js';
import {
  applicationClaims,
  type Claims,
  type VerifiedToken,
  withClaims,
} from '../token/verified-token.js';

/*
 * What a session has chosen since its log-in, and where it has moved: explicit changes, and the
 * scopes (a tenant) that the claims source has put it into or taken it out of. An access token hands
 * that on by itself; a refresh token was made before it, so it is kept beside, claim by claim, and
 * laid over the refresh token by whoever exchanges that.
 */

export interface SessionRecord {
  /** New at each change, so that who has read it can tell that it has changed. */
  readonly id: string;
  readonly choices: Readonly<Record<string, Choice>>;
  /** The revocations that were there when the session entered the scopes it has chosen. */
  readonly revoked: readonly string[];
}

/** The value of one claim, and the token that set it: of two, the newer one counts. */
interface Choice {
  /** Absent: the claim is gone. */
  readonly value?: unknown;
  readonly jti: string;
}

/** The claims that a token has otherwise than the one it replaces, and that the session is to keep. */
export function chosenClaims(
  before: VerifiedToken,
  after: VerifiedToken,
  changes: Claims | undefined,
  scopeClaims: readonly string[],
): string[] {
  const moved = scopeClaims.filter((name) => !isDeepStrictEqual(before[name], after[name]));
  return [...new Set([...Object.keys(changes ?? {}), ...moved])];
}

export interface Choosing {
  /** The token that holds them. */
  readonly token: VerifiedToken;
  /** The claims that were chosen. */
  readonly names: readonly string[];
  /** A token that was to hold them and came too late: what it has set does not count. */
  readonly insteadOf?: string | undefined;
}

/** The record with what a new token has chosen. */
export function withChoices(
  record: SessionRecord | undefined,
  { token, names, insteadOf }: Choosing,
  id: string,
): SessionRecord {
  const choices = { ...record?.choices };
  for (const name of names) {
    const standing = choices[name]?.jti;
    const isOvertaken = standing !== undefined && isNewer(standing, token.jti);
    if (isOvertaken && standing !== insteadOf) continue;
    choices[name] = { value: token[name], jti: token.jti };
  }
  const revoked = new Set([...(record?.revoked ?? []), ...(token.seen.revoked ?? [])]);
  return { id, choices, revoked: [...revoked] };
}

/** A refresh token with what the session has chosen since it was made, and what that knows. */
export function continued(token: VerifiedToken, record: SessionRecord | undefined): VerifiedToken {
  if (!record) return token;
  const claims = applicationClaims(token);
  for (const [name, { value }] of Object.entries(record.choices)) {
    if (value === undefined) delete claims[name];
    else claims[name] = value;
  }
  const revoked = [...new Set([...(token.seen.revoked ?? []), ...record.revoked])];
  return {
    ...withClaims(token, claims),
    seen: { ...token.seen, ...(revoked.length > 0 && { revoked }) },
  };
}

/** The newest token that has chosen something. */
export function newestIn({ choices }: SessionRecord): string | undefined {
  const ids = Object.values(choices).map(({ jti }) => jti);
  return ids.length === 0 ? undefined : ids.reduce((a, b) => (isNewer(b, a) ? b : a));
}

/** Its signature has been checked; a form of another version is no record. */
export function isSessionRecord(value: unknown): value is SessionRecord {
  return (
    isObject(value) &&
    typeof value.id === 'string' &&
    Array.isArray(value.revoked) &&
    isObject(value.choices) &&
    Object.values(value.choices).every(
      (choice) => isObject(choice) && typeof choice.jti === 'string',
    )
  );
}

function isNewer(one: string, other: string): boolean {
  return (timeOfTokenId(one) ?? 0) > (timeOfTokenId(other) ?? 0);
}
