import type { Clock } from '../clock.js';
import type { Scope } from '../deny-list/scopes.js';
import { newMarkId } from './mark-id.js';
import { formatScopeState, parseScopeState, type ScopeState } from './scope-state.js';
import { formatSessionState, parseSessionState } from './session-state.js';
import { type DeadlineChange, type StaleMark, staleMarkAfter } from './stale-mark.js';
import type { StateKeys } from './state-keys.js';
import type { Change, StateUpdater } from './state-updater.js';
import { formatStoreState, parseStoreState } from './store-state.js';

/** What a mark speaks about: a scope, or every token of every service on the store. */
export type MarkTarget = Scope | 'everyone';

/** Sets marks. Each is one field of a record; the others stay as they are. */
export class MarkWriter {
  constructor(
    private readonly updater: StateUpdater,
    private readonly keys: StateKeys,
    private readonly clock: Clock,
  ) {}

  /**
   * "This state has changed", or is being changed.
   *
   * @param expected the record as the caller has read it, if it has
   * @returns the record that stands there then; a revoked session stays as it is
   * @throws DenyListUnavailableError
   */
  async markStale(
    target: MarkTarget,
    change: DeadlineChange = {},
    expected?: string,
  ): Promise<string | undefined> {
    const next = (before: StaleMark | undefined) => this.nextMark(before, change);
    if (target !== 'everyone' && target.name === 'sid') {
      const key = this.keys.session(target.value);
      return this.updater.update(key, staleSession(next), expected);
    }
    return this.updateMarks(target, (marks) => ({ ...marks, stale: next(marks.stale) }), expected);
  }

  /** Ends every session of a scope that does not know of this. @returns the record that stands there */
  revoke(target: MarkTarget): Promise<string | undefined> {
    return this.updateMarks(target, (marks) => ({ ...marks, revoked: this.newId() }));
  }

  /** @param change of the marks of one subject, one claim's value, or everyone */
  updateMarks(
    target: MarkTarget,
    change: (marks: ScopeState) => ScopeState | undefined,
    expected?: string,
  ): Promise<string | undefined> {
    if (target === 'everyone') {
      return this.updater.update(this.keys.store, marksOfEveryone(change), expected);
    }
    return this.updater.update(this.keys.scope(target), marksOfScope(change), expected);
  }

  newId(): string {
    return newMarkId(this.clock.now());
  }

  private nextMark(before: StaleMark | undefined, change: DeadlineChange): StaleMark {
    return staleMarkAfter(before, this.newId(), change, this.clock.now());
  }
}

function staleSession(next: (before: StaleMark | undefined) => StaleMark): Change {
  return (value) => {
    const state = parseSessionState(value);
    if (state.isRevoked) return undefined;
    return formatSessionState({ ...state, stale: next(state.stale) });
  };
}

function marksOfScope(change: (marks: ScopeState) => ScopeState | undefined): Change {
  return (value) => {
    const changed = change(parseScopeState(value));
    return changed && formatScopeState(changed);
  };
}

/** The record exists by then: whoever writes has begun an epoch first. */
function marksOfEveryone(change: (marks: ScopeState) => ScopeState | undefined): Change {
  return (value) => {
    if (value === undefined) return undefined;
    const state = parseStoreState(value);
    const everyone = change(state.everyone);
    return everyone && formatStoreState({ ...state, everyone });
  };
}
