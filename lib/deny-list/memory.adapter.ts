import { EventEmitter } from 'node:events';

interface Entry {
  readonly value: unknown;
  /** Milliseconds since the epoch; absent: for ever. */
  readonly expires: number | undefined;
}

const PURGE_EVERY_MS = 60_000;
/** So many entries are looked through at a time; then others have a turn. */
const PURGE_SLICE = 10_000;

/**
 * A Keyv store in this process. It purges what has expired, also what nobody asks for again, and
 * evicts nothing: an entry that is needed is never dropped for another one.
 */
export class MemoryAdapter extends EventEmitter {
  /** Keyv keeps its own options here. */
  opts: Record<string, unknown> = {};
  namespace?: string;
  /** Counts the changes, save by an entry's coming to its end. */
  version = 0;
  private readonly entries = new Map<string, Entry>();
  private readonly timer = setInterval(() => void this.purge(), PURGE_EVERY_MS).unref();

  get size(): number {
    return this.entries.size;
  }

  get(key: string): unknown {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.expires === undefined || Date.now() < entry.expires) return entry.value;
    this.entries.delete(key);
    return undefined;
  }

  set(key: string, value: unknown, ttl?: number): true {
    this.version += 1;
    this.entries.set(key, { value, expires: ttl === undefined ? undefined : Date.now() + ttl });
    return true;
  }

  /** The same, but for an end that lies later: that is kept. */
  setAtLeast(key: string, value: unknown, ttl: number | undefined): void {
    const { expires } = this.entries.get(key) ?? {};
    const left = expires === undefined ? 0 : expires - Date.now();
    this.set(key, value, ttl === undefined ? undefined : Math.max(ttl, left));
  }

  /** Another value for an entry that stands, with the same end. */
  replace(key: string, value: unknown): void {
    const { expires } = this.entries.get(key) ?? {};
    this.version += 1;
    this.entries.set(key, { value, expires });
  }

  /** Has an entry end in so many milliseconds, if it would end later. */
  endSooner(key: string, ttl: number): void {
    const entry = this.entries.get(key);
    const expires = Date.now() + ttl;
    // What it says does not change, so nothing that was said of it before does.
    if (entry && (entry.expires ?? Number.POSITIVE_INFINITY) > expires) {
      this.entries.set(key, { value: entry.value, expires });
    }
  }

  delete(key: string): boolean {
    this.version += 1;
    return this.entries.delete(key);
  }

  clear(): void {
    this.version += 1;
    this.entries.clear();
  }

  async disconnect(): Promise<void> {
    clearInterval(this.timer);
  }

  private async purge(): Promise<void> {
    let seen = 0;
    for (const [key, { expires }] of this.entries) {
      if (expires !== undefined && expires <= Date.now()) this.entries.delete(key);
      seen += 1;
      if (seen % PURGE_SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
