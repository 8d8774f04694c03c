import { lifeOf, type Session } from './session.js';
import { unref } from './surroundings.js';

/** After a refresh that failed, and twice as long after the next. In milliseconds, like the others. */
const PAUSE = 30_000;
const LONGEST_PAUSE = 300_000;
/** However short tokens live. */
const SHORTEST = 1_000;
/** A timer that is to wait longer than it can goes off at once. */
const LONGEST = 2_000_000_000;

/** Plans the refresh of a session's token. */
export interface AheadOfExpiry {
  plan(session: Session): void;
  /** The network is back: what has failed is tried again now. */
  retry(): void;
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
  let pause = 0;
  let isClosed = false;

  const run = async () => {
    const hasFailed = await renew().catch(() => true);
    if (!hasFailed) return;
    pause = Math.min(pause * 2 || PAUSE, LONGEST_PAUSE);
    wait(pause);
  };
  const wait = (time: number) => {
    clearTimeout(timer);
    // Where a session has ended, or nobody knows how long its token lives, it is not a number.
    if (isClosed || !(time > 0)) return;
    timer = setTimeout(run, Math.min(time, LONGEST));
    unref(timer);
  };

  return {
    plan(session) {
      pause = 0;
      // Not all tabs, and not all users who signed in after an outage, at the same moment.
      const due = lifeOf(session) * (750 + Math.random() * 150);
      // A clock that was set back must not put it off.
      wait(Math.max(Math.min(due, session.at + due - Date.now()), SHORTEST));
    },
    retry() {
      if (pause) wait(SHORTEST * Math.random());
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
