import { encodeId } from '../deny-list/deny-list.keys.js';
import type { Scope } from '../deny-list/scopes.js';

/**
 * The names of the records: `<prefix><kind>:<id>`. An id has a fixed alphabet and length, so no value of a
 * claim can meet another one's record.
 */
export class StateKeys {
  /** What the store says of itself, and everyone's marks. */
  readonly store: string;

  constructor(readonly prefix: string) {
    this.store = `${prefix}w`;
  }

  /** The state of a session. */
  session(sid: string): string {
    return `${this.prefix}s:${encodeId(sid)}`;
  }

  /** The newest access token of a session. */
  tip(sid: string): string {
    return `${this.prefix}t:${encodeId(sid)}`;
  }

  /** The uses of a session's refresh tokens, and what the session has chosen. */
  history(sid: string): string {
    return `${this.prefix}r:${encodeId(sid)}`;
  }

  /** The marks of a subject or of a claim's value. */
  scope({ name, value }: Scope): string {
    return `${this.prefix}u:${name}:${encodeId(value)}`;
  }
}
