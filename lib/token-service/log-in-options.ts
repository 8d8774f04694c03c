import { checkChoice, complete, wholeSeconds } from '../config/checks.js';
import type { Duration } from '../duration.js';
import type { LogInTerms } from '../token/verified-token.js';

/** What one log-in decides for its session, and every token of it keeps. See `TokenService.issue`. */
export class LogInOptions {
  /**
   * Whether its cookies outlive the browser ("remember me"). Default: `persistent` of each cookie.
   * Without cookies it says nothing.
   */
  persistent?: boolean | undefined = undefined;
  /** How long the session may last from the log-in on. Default, and at most: `session.maxAge`. */
  maxAge?: Duration | undefined = undefined;
}

/** @param authTime the time of the log-in, in seconds @throws JwtStateConfigError */
export function termsOf(
  options: LogInOptions | undefined,
  authTime: number,
): LogInTerms | undefined {
  const { persistent, maxAge } = complete('issue()', LogInOptions, options);
  checkChoice('issue(): persistent', persistent, [true, false, undefined]);
  if (persistent === undefined && maxAge === undefined) return undefined;
  return {
    ...(persistent !== undefined && { persistent }),
    ...(maxAge !== undefined && { end: authTime + wholeSeconds('issue(): maxAge', maxAge) / 1000 }),
  };
}
