import type { Scope } from '../deny-list/scopes.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { TokenState } from './judge.js';
import { parseScopeState, type ScopeState } from './scope-state.js';
import { parseSessionState, type SessionState } from './session-state.js';
import type { StateKeys } from './state-keys.js';
import { parseStoreState, type StoreState } from './store-state.js';

/**
 * What one reading of the store has found. It keeps the values as they were read, since every commit that
 * follows from a look is made on top of exactly these.
 *
 * A record that cannot be read throws `UnreadableRecordError`.
 */
export class Look {
  /** @param readAt when reading began, in ms: `iat` and `exp` of a token made by this look count from here */
  constructor(
    readonly readAt: number,
    private readonly keys: StateKeys,
    private readonly values: ReadonlyMap<string, string | undefined>,
  ) {}

  /** The same look, with further values. What was read before stays. */
  with(values: ReadonlyMap<string, string | undefined>): Look {
    return new Look(this.readAt, this.keys, new Map([...values, ...this.values]));
  }

  has(key: string): boolean {
    return this.values.has(key);
  }

  /** The value under a key, as it was read. */
  value(key: string): string | undefined {
    return this.values.get(key);
  }

  /** `undefined`: the store is empty. */
  get store(): StoreState | undefined {
    const value = this.values.get(this.keys.store);
    return value === undefined ? undefined : parseStoreState(value);
  }

  session(sid: string): SessionState {
    return parseSessionState(this.values.get(this.keys.session(sid)));
  }

  scope(scope: Scope): ScopeState {
    return parseScopeState(this.values.get(this.keys.scope(scope)));
  }

  /** What the rules need to judge a token of these scopes. */
  stateOf({ sid }: VerifiedToken, scopes: readonly Scope[]): TokenState {
    const { store } = this;
    const marks = scopes.map((scope) => this.scope(scope));
    return {
      epoch: store?.epoch,
      session: this.session(sid),
      scopes: store ? [...marks, store.everyone] : marks,
    };
  }
}
