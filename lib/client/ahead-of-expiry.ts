import { readClaims, type TokenClaims } from './claims.js';
import type { Session } from './session.js';
import { unref } from './surroundings.js';

/** After a refresh that failed, and twice as long after the next. In milliseconds, like the others. */
const PAUSE = 30_000;
/** However short tokens live. */
const SHORTEST = 1_000;
/** A timer that is to wait longer than it can goes off at once. */
const LONGEST = 2_000_000_000;

/** Plans the refresh of a session's token. */
export interface AheadOfExpiry {
  plan(session: Session): void;
  close(): void;
}

/**
 * Replaces the access token before it expires. Times are counted from when it came, so it does not
 * matter what the device takes the time to be.
 *
 * @param renew resolves to whether it should be tried again
 */
export function aheadOfExpiry(renew: () => Promise<boolean>): AheadOfExpiry {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isClosed = false;

  const wait = (time: number, pause: number) => {
    clearTimeout(timer);
    // Where a session has ended, or nobody knows how long its token lives, it is not a number.
    if (isClosed || !(time > 0)) return;
    const run = async () => {
      if (await renew()) wait(pause, pause * 2);
    };
    timer = setTimeout(run, Math.min(time, LONGEST));
    unref(timer);
  };

  return {
    plan({ access, at, life }) {
      const { iat, exp } = (readClaims(access) ?? {}) as TokenClaims;
      // Not all tabs, and not all users who signed in after an outage, at the same moment.
      const due = (life ?? exp - iat) * (750 + Math.random() * 150);
      // A clock that was set back must not put it off.
      wait(Math.max(Math.min(due, at + due - Date.now()), SHORTEST), PAUSE);
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
