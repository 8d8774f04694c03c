import type { Clock } from '../clock.js';
import type { StateStore } from '../store/state-store.js';
import { newMarkId } from './mark-id.js';
import { NO_MARKS } from './scope-state.js';
import { formatStoreState, parseStoreState, type StoreState } from './store-state.js';

/** This often another process may change the record between two attempts. */
const ATTEMPTS = 30;

interface Known {
  readonly value: string;
  readonly state: StoreState;
}

/**
 * The record `w` as this process knows it. Tokens name its epoch, so a store that has lost its records is
 * told by its having another one; and whoever writes a mark keeps it as long as the record says.
 */
export class Witness {
  private known: Known | undefined;

  /** @param own how long marks must be kept for the tokens of this service, in ms */
  constructor(
    private readonly store: StateStore,
    readonly key: string,
    private readonly clock: Clock,
    private readonly own: number,
  ) {}

  /** What the record says; nearly every look finds the same one. */
  learn(value: string | undefined): StoreState | undefined {
    if (value === undefined) {
      this.known = undefined;
    } else if (this.known?.value !== value) {
      this.known = { value, state: parseStoreState(value) };
    }
    return this.known?.state;
  }

  /** How long marks are kept, as far as this process knows, in ms. */
  get keepFor(): number {
    return Math.max(this.own, this.known?.state.keepFor ?? 0);
  }

  /** Whether the record says that marks are kept long enough for the tokens of this service. */
  isEnough(value: string | undefined): value is string {
    const state = this.learn(value);
    return state !== undefined && state.keepFor >= this.own;
  }

  /** The record as this process knows it; `undefined`: {@link settle} it first. */
  get settled(): string | undefined {
    return this.known && this.known.state.keepFor >= this.own ? this.known.value : undefined;
  }

  /** Asks the store for the record, and makes it one that is enough for this service. */
  async read(): Promise<string> {
    const [value] = await this.store.read([this.key]);
    return this.settle(value);
  }

  /**
   * Begins an epoch where the store is empty, and raises the time that marks are kept, before this service
   * issues or accepts a token that needs it.
   *
   * @param value what was read under the key
   * @returns what stands there then
   */
  async settle(value: string | undefined): Promise<string> {
    let expected = value;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.isEnough(expected)) return expected;
      const { state } = this.known ?? {};
      const settled = formatStoreState({
        epoch: state?.epoch ?? newMarkId(this.clock.now()),
        keepFor: this.keepFor,
        everyone: state?.everyone ?? NO_MARKS,
      });
      const standing = await this.store.commit({
        checks: [{ key: this.key, expected }],
        writes: [{ key: this.key, value: settled }],
      });
      expected = standing ? standing[0] : settled;
    }
    throw new Error('The witness of the store changes all the time.');
  }
}
