import type { Clock } from '../clock.js';
import type { StateStore } from '../store/state-store.js';
import { Look } from './look.js';
import type { StateKeys } from './state-keys.js';
import type { Witness } from './witness.js';

/** Reads records from the store itself, the witness always among them. */
export class StateReader {
  constructor(
    private readonly store: StateStore,
    readonly keys: StateKeys,
    private readonly witness: Witness,
    private readonly clock: Clock,
  ) {}

  /**
   * One round trip. More only where the store is empty, or keeps marks too short for this service: then
   * that is mended first, and everything is read again.
   */
  async look(keys: readonly string[]): Promise<Look> {
    const all = [this.keys.store, ...new Set(keys)];
    const readAt = this.clock.now();
    let values = await this.store.read(all);
    if (!this.witness.isEnough(values[0])) {
      await this.witness.settle(values[0]);
      values = await this.store.read(all);
    }
    return new Look(readAt, this.keys, new Map(all.map((key, index) => [key, values[index]])));
  }

  /** The same look with what it lacks of these keys. */
  async extend(look: Look, keys: readonly string[]): Promise<Look> {
    const missing = [...new Set(keys)].filter((key) => !look.has(key));
    if (missing.length === 0) return look;
    const values = await this.store.read(missing);
    return look.with(new Map(missing.map((key, index) => [key, values[index]])));
  }
}
