import type { MarkSnapshot } from './marks.js';
import type { Verdict } from './verdict.js';

/** What one look at the store says of a token, and the marks it was said by. */
export interface Look {
  readonly verdict: Verdict;
  readonly snapshot: MarkSnapshot;
}
