/** `null`: known to be absent. */
export type Known = string | null;

/**
 * Values by key, never more than a given number. Of two generations the older one is dropped when
 * the younger is full, and what is used moves into the younger: what many requests need stays, and
 * nothing has to be moved for a request that finds what it needs.
 */
export class KnownValues {
  private young = new Map<string, Known>();
  private old = new Map<string, Known>();
  /** Counts what has gone or changed, one value or many: as long as it stays, nothing has. */
  losses = 0;
  private readonly generation: number;

  /** @param size how many are kept at most */
  constructor(size: number) {
    this.generation = Math.floor(size / 2);
  }

  get size(): number {
    return this.young.size + this.old.size;
  }

  /** `undefined`: not known. */
  get(key: string): Known | undefined {
    const found = this.young.get(key);
    if (found !== undefined) return found;
    const older = this.old.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: string, value: Known): void {
    if (this.generation === 0) return;
    const before = (this.young.has(key) ? this.young : this.old).get(key);
    if (before !== undefined && before !== value) this.losses += 1;
    if (this.young.size >= this.generation && !this.young.has(key)) {
      // What is believed without being asked for here would not move, and be dropped the next time.
      this.losses += 1;
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(key, value);
  }

  delete(key: string): void {
    const isYoung = this.young.delete(key);
    const isOld = this.old.delete(key);
    if (isYoung || isOld) this.losses += 1;
  }

  clear(): void {
    this.losses += 1;
    this.young = new Map();
    this.old = new Map();
  }
}
