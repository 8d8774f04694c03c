import { isObject } from '../token/token-form.js';
import { timeOfTokenId } from '../token/token-id.js';
import { applicationClaims, type VerifiedToken, withClaims } from '../token/verified-token.js';

/*
 * What a session has chosen since its log-in. An access token hands that on by itself; a refresh
 * token was made before it, so it is kept beside, and read by a refresh only.
 *
 * Like a mark, the record has an id, new at each change: a refresh token has seen it or not. What it
 * has seen is in its claims already, and may have been overtaken there by what the claims source
 * said since. What it has not seen is laid over them.
 */

export interface SessionRecord {
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

/** The record with what a new token has chosen. @param names the claims that were chosen */
export function withChoices(
  record: SessionRecord | undefined,
  token: VerifiedToken,
  names: readonly string[],
  id: string,
): SessionRecord {
  const choices = { ...record?.choices };
  for (const name of names) {
    const standing = choices[name];
    if (standing && isNewer(standing.jti, token.jti)) continue;
    choices[name] = { value: token[name], jti: token.jti };
  }
  const revoked = new Set([...(record?.revoked ?? []), ...(token.seen.revoked ?? [])]);
  return { id, choices, revoked: [...revoked] };
}

/** A refresh token with what the session has chosen since it was made, and what that knows. */
export function continued(token: VerifiedToken, record: SessionRecord | undefined): VerifiedToken {
  if (!record || token.seen.session === record.id) return token;
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
