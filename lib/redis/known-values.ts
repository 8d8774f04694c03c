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
    if (this.young.size >= this.generation && !this.young.has(key)) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(key, value);
  }

  delete(key: string): void {
    this.young.delete(key);
    this.old.delete(key);
  }

  clear(): void {
    this.young = new Map();
    this.old = new Map();
  }
}
