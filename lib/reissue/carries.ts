import { isDeepStrictEqual } from 'node:util';
import type { TokenMint } from '../token/token-mint.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { ReissueRequest } from './reissue-request.js';

/**
 * Whether a token that somebody else made from the same predecessor already holds what this
 * reissue was to bring. That it knows every mark is judged elsewhere, as for any token.
 */
export function carries(
  winner: VerifiedToken,
  { changes, renew }: ReissueRequest,
  mint: TokenMint,
): boolean {
  // Renewed when it was made: whether that was a second ago does not matter.
  if (renew && winner.exp < mint.freshExpiry(winner.iat * 1000, winner)) return false;
  return Object.entries(changes ?? {}).every(([name, value]) =>
    isDeepStrictEqual(winner[name], value),
  );
}
