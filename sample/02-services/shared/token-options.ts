import type { Cache } from 'cache-manager';
import { durationOf, keyPrefix } from './settings.js';

/** The longest lifetime of any token here: that of a refresh token which is not used. */
export const REFRESH_TOKEN_LIFETIME = '14d';

/** What services that share tokens must agree on. */
export function sharedOptions(cache: Cache) {
  return {
    issuer: 'https://issuer.example',
    audience: 'https://services.example',
    reissue: { gracePeriod: durationOf('REISSUE_GRACE') },
    denyList: {
      cache,
      prefix: keyPrefix(),
      claims: ['tenant'],
      // The reports service issues nothing, and would not know it otherwise.
      longestLifetime: REFRESH_TOKEN_LIFETIME,
      lookupTimeout: durationOf('LOOKUP_TIMEOUT'),
    },
  } as const;
}
