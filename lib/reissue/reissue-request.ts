import type { ReissueReason } from '../events/events.js';
import type { Claims } from '../token/verified-token.js';

/** How a reissue differs from "the same with today's truth", and why it happens. */
export interface ReissueRequest {
  /** Told to the audit log. */
  readonly why: ReissueReason;
  /** Laid over what the claims source says. */
  readonly changes?: Claims | undefined;
  /** A new `exp` instead of the predecessor's. */
  readonly renew: boolean;
}
