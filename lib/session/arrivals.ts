import type { Clock } from '../clock.js';
import { withArrival } from '../state/generations.js';
import { formatSessionState, parseSessionState } from '../state/session-state.js';
import type { StateKeys } from '../state/state-keys.js';
import type { Witness } from '../state/witness.js';
import type { StateStore } from '../store/state-store.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { Lifetimes } from './lifetimes.js';

/** So many arrivals are remembered, so that none is written twice by one process. */
const REMEMBERED = 10_000;

/**
 * Writes down that the client has a generation: the grace period of what came before it begins. In the
 * background, once; when it fails, the next request with that token does it, and meanwhile the older
 * token leads on.
 */
export class Arrivals {
  private readonly noted = new Set<string>();

  constructor(
    private readonly store: StateStore,
    private readonly keys: StateKeys,
    private readonly witness: Witness,
    private readonly lifetimes: Lifetimes,
    private readonly clock: Clock,
  ) {}

  /** @param value the state of the session, as it was read or written */
  note(
    { sid, seen, exp }: Pick<VerifiedToken, 'sid' | 'seen' | 'exp'>,
    value: string | undefined,
  ): void {
    const { gen = 0 } = seen;
    if (gen === 0 || value === undefined) return;
    const state = parseSessionState(value);
    const last = state.generations.at(-1);
    if (state.isRevoked || last?.n !== gen || last.arrived) return;
    const id = `${sid} ${gen}`;
    if (this.noted.has(id)) return;
    if (this.noted.size >= REMEMBERED) this.noted.clear();
    this.noted.add(id);
    const now = this.clock.now();
    const generations = withArrival(state.generations, gen, now);
    const key = this.keys.session(sid);
    const ttl = state.stale
      ? this.witness.keepFor
      : this.lifetimes.session(now, [{ exp } as VerifiedToken]);
    const written = formatSessionState({ ...state, generations });
    this.store
      .commit({ checks: [{ key, expected: value }], writes: [{ key, value: written, ttl }] })
      .catch(() => this.noted.delete(id));
  }
}
