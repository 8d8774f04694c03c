import type { Claims } from '../token/verified-token.js';

/** How a reissue differs from "the same with today's truth". */
export interface ReissueRequest {
  /** Laid over what the claims source says. */
  readonly changes?: Claims | undefined;
  /** A new `exp` instead of the predecessor's. */
  readonly renew: boolean;
}
