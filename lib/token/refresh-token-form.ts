import { isObject } from './token-form.js';
import type { VerifiedToken } from './verified-token.js';

/*
 * A refresh token names no subject, no audience and no claim of the application where others look
 * for them: those lie one level down. A service that checks signatures and not `typ` would take any
 * JWT of this issuer for an access token; in this one it finds nobody.
 */

export function sealRefreshToken({ iss, jti, sid, iat, exp, ...rest }: VerifiedToken): object {
  return { ...(iss !== undefined && { iss }), jti, sid, iat, exp, refresh: rest };
}

/** The claims, for the caller to check. */
export function openRefreshToken(payload: unknown): unknown {
  if (!isObject(payload) || !isObject(payload.refresh)) return undefined;
  const { refresh, ...rest } = payload;
  return { ...refresh, ...rest };
}
