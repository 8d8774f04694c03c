import { v7 as uuidv7 } from 'uuid';
import { systemClock } from '../clock.js';
import { checkedClaims } from '../token/claims-reader.js';
import { toSeconds } from '../token/token-mint.js';
import { type Claims, frozen, type VerifiedToken } from '../token/verified-token.js';

/** As long as an access token lives by default, in seconds. */
const LIFETIME = 900;

/**
 * What `@CurrentToken()` gives a handler, for tests that call the handler themselves. It was never
 * signed: no guard would accept it. A request needs `tokenFor()` or `actAs()`.
 *
 * @example
 * ```ts
 * const alice = currentToken('alice', { plan: 'free' });
 * expect(controller.report(alice)).toEqual({ plan: 'free' });
 * ```
 * @throws ClaimsInvalidError for claims that a token cannot have
 * @publicApi
 */
export function currentToken<C extends Claims = Claims>(
  subject: string | number,
  claims?: C,
): VerifiedToken<C> {
  const now = systemClock.now();
  const iat = toSeconds(now);
  const token: VerifiedToken = {
    ...checkedClaims('claims given to currentToken()', claims ?? {}),
    sub: String(subject),
    iat,
    exp: iat + LIFETIME,
    auth_time: iat,
    sid: uuidv7({ msecs: now }),
    jti: uuidv7({ msecs: now }),
    seen: { epoch: 'test' },
  };
  return frozen(token) as VerifiedToken<C>;
}
