import { isDeepStrictEqual } from 'node:util';
import type { VerifiedToken } from '../token/verified-token.js';
import type { ReissueRequest } from './reissuer.js';

/**
 * Whether a token that somebody else made from the same predecessor already holds what this
 * reissue was to bring. That it knows every mark is judged elsewhere, as for any token.
 */
export function carries(
  winner: VerifiedToken,
  presented: VerifiedToken,
  { changes, renew }: ReissueRequest,
): boolean {
  if (renew && winner.exp <= presented.exp) return false;
  return Object.entries(changes ?? {}).every(([name, value]) =>
    isDeepStrictEqual(winner[name], value),
  );
}
