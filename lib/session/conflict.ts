import { currentOf } from '../state/generations.js';
import { parseSessionState } from '../state/session-state.js';
import type { Check, Values } from '../store/state-store.js';

/**
 * Whether nothing but a mark or an arrival was written between a look and the commit that follows from it.
 * Then the step holds as it is: by a mark that the new token does not name, it is stale.
 *
 * @param first the state of the session as it was looked at; its check is the first one of the step
 * @param values what stands there now
 * @param bringsMark the step sets a stale mark of its own, which would take the place of an unseen one
 */
export function isOnlyMarked(
  first: string | undefined,
  checks: readonly Check[],
  values: Values,
  bringsMark: boolean,
): boolean {
  const [session, ...others] = values;
  if (others.some((value, index) => value !== checks[index + 1]?.expected)) return false;
  if (first !== undefined && session === undefined) return false;
  const [before, now] = [parseSessionState(first), parseSessionState(session)];
  if (now.isRevoked || currentOf(now.generations) !== currentOf(before.generations)) return false;
  return !bringsMark || now.stale?.id === before.stale?.id;
}
