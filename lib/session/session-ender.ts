import type { RevokeReason } from '../events/events.js';
import type { EventSink } from '../events/token-events.js';
import { DenyListUnavailableError } from '../jwt-state.errors.js';
import { REVOKED_SESSION } from '../state/session-state.js';
import type { StateKeys } from '../state/state-keys.js';
import type { Witness } from '../state/witness.js';
import type { StateStore } from '../store/state-store.js';

/** The time that marks are kept may be raised between two attempts. */
const ATTEMPTS = 30;

/** Revokes sessions. The record is final, so it is written over whatever stands there. */
export class SessionEnder {
  constructor(
    private readonly store: StateStore,
    private readonly keys: StateKeys,
    private readonly witness: Witness,
    private readonly events: EventSink,
  ) {}

  /**
   * @param keepFor in ms, where the session is known to end earlier than marks do
   * @throws DenyListUnavailableError when the store did not confirm: the session may live on
   */
  async end(sid: string, why: RevokeReason, keepFor = Number.POSITIVE_INFINITY): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const expected = this.witness.settled ?? (await this.witness.read());
      const ttl = Math.min(keepFor, this.witness.keepFor);
      // Without this check it would be kept too short for tokens of a service that came later.
      const standing = await this.store.commit({
        checks: [{ key: this.witness.key, expected }],
        writes: [{ key: this.keys.session(sid), value: REVOKED_SESSION, ttl }],
      });
      if (standing === undefined) {
        this.events.emit('revoked', { scope: { name: 'sid', value: sid }, why });
        return;
      }
      this.witness.learn(standing[0]);
    }
    throw new DenyListUnavailableError('The witness of the store changes all the time.');
  }
}
