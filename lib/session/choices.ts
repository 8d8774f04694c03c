import { isDeepStrictEqual } from 'node:util';
import {
  applicationClaims,
  type Claims,
  type VerifiedToken,
  withClaims,
} from '../token/verified-token.js';

/**
 * What a session has chosen since its log-in, beside its tokens: explicit changes, and the claims of scopes
 * (a tenant) that it has moved to. A refresh token is older than these, so they are laid over it.
 */
export interface Choices {
  /** `null`: the claim was removed. */
  readonly chosen: Readonly<Record<string, unknown>>;
  /** The ms of the token that the last choice came with; later tokens get a later `jti`. */
  readonly at: number;
  /** Ids of the revocations that stood when the session entered the scopes it has chosen. */
  readonly rev: readonly string[];
}

/**
 * Where a session is, seen from one of its tokens: the token with everything the session has chosen. The
 * next token goes on from here.
 */
export function placeOf(token: VerifiedToken, choices: Choices | undefined): VerifiedToken {
  // What this module did not make is judged by times, and not by what its session knows.
  if (!choices || token.seen.origin !== undefined) return token;
  const claims = applicationClaims(token);
  for (const [name, value] of Object.entries(choices.chosen)) {
    if (value === null) delete claims[name];
    else claims[name] = value;
  }
  const revoked = union(token.seen.revoked, choices.rev);
  return {
    ...withClaims(token, claims),
    seen: { ...token.seen, ...(revoked.length > 0 && { revoked }) },
  };
}

/** What is to be remembered of a new token. */
export interface Choosing {
  /** Where the session was: see {@link placeOf}. */
  readonly place: VerifiedToken;
  readonly next: VerifiedToken;
  /** Claims that the application asked for. */
  readonly changes: Claims | undefined;
  /** The claims by which sessions belong to scopes. */
  readonly scopeClaims: readonly string[];
  /** The ms of the new token. */
  readonly at: number;
}

/**
 * The choices after a new token: those before, with the explicit ones, with the scopes it has moved to, and
 * with what the claims source has overruled. `undefined`: nothing changes.
 */
export function choicesAfter(
  before: Choices | undefined,
  { place, next, changes, scopeClaims, at }: Choosing,
): Choices | undefined {
  const moved = scopeClaims.filter((name) => !isDeepStrictEqual(place[name], next[name]));
  const overruled = Object.entries(before?.chosen ?? {})
    .filter(([name, value]) => !isDeepStrictEqual(value, next[name] ?? null))
    .map(([name]) => name);
  const names = new Set([...Object.keys(changes ?? {}), ...moved, ...overruled]);
  if (names.size === 0) return undefined;
  const chosen: Record<string, unknown> = { ...before?.chosen };
  for (const name of names) chosen[name] = next[name] ?? null;
  return { chosen, at, rev: union(before?.rev, next.seen.revoked) };
}

function union(one: readonly string[] = [], other: readonly string[] = []): string[] {
  return [...new Set([...one, ...other])];
}
