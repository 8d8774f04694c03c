import { type Clock, systemClock } from '../clock.js';
import type { Entry, Standing } from '../deny-list/deny-list.store.js';
import type { NativeStore, NativeStoreSettings } from '../deny-list/native-store.js';
import { formatUsed } from '../deny-list/records.js';
import { type Faults, isAbout, type StoreVerb } from './faults.js';

interface Stored {
  readonly value: string;
  /** Milliseconds since the epoch; absent: for ever. */
  readonly expires: number | undefined;
}

/**
 * What Redis is to a deny list, in this process: answers come later, "set if absent" holds for all
 * who share it, and it stays when an application is closed.
 */
export class FaultyMemoryStore implements NativeStore {
  readonly atomic = 'store';
  readonly ephemeral = false;
  reads = 0;
  writes = 0;
  private readonly entries = new Map<string, Stored>();
  private clock: Clock = systemClock;

  constructor(private readonly faults: Faults) {}

  /** Entries end by the clock of the application. */
  async open({ clock = systemClock }: NativeStoreSettings): Promise<void> {
    this.clock = clock;
  }

  async close(): Promise<void> {}

  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    await this.pass('read', ...keys);
    return keys.map((key) => this.get(key));
  }

  async write(key: string, value: string, ttl: number | undefined): Promise<void> {
    await this.pass('write', key);
    this.set(key, value, ttl);
  }

  async writeIfAbsent(key: string, value: string, ttl: number | undefined): Promise<Standing> {
    await this.pass('write', key);
    return this.setIfAbsent(key, value, ttl);
  }

  async writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    await this.pass('write', key);
    const current = this.get(key);
    if (current !== expected) return { written: false, current };
    this.set(key, value, ttl);
    return { written: true };
  }

  async writeBothIfAbsent(first: Entry, second: Entry): Promise<readonly [Standing, Standing]> {
    await this.pass('write', first.key, second.key);
    const standing = this.get(first.key);
    if (standing !== undefined) return [standing, undefined];
    const before = this.setIfAbsent(second.key, second.value, second.ttl);
    if (before === undefined) this.set(first.key, first.value, first.ttl);
    return [undefined, before];
  }

  async removeIfUnchanged(key: string, expected: string): Promise<boolean> {
    await this.pass('write', key);
    return this.get(key) === expected && this.entries.delete(key);
  }

  async conclude(jti: string, successor: string, next: string, ttl: number): Promise<void> {
    await this.pass('write', jti, next);
    const [record, leading] = [this.entries.get(jti), this.entries.get(next)];
    const used = formatUsed(this.get(jti), successor);
    if (used === undefined) return;
    this.entries.set(jti, { value: used, expires: record?.expires });
    const end = this.clock.now() + ttl;
    const isLater = (leading?.expires ?? Number.POSITIVE_INFINITY) > end;
    if (leading && isLater) this.entries.set(next, { value: leading.value, expires: end });
  }

  async remove(key: string): Promise<boolean> {
    await this.pass('write', key);
    return this.entries.delete(key);
  }

  /** Drops all entries, or those under keys that this matches. */
  lose(keys?: RegExp): void {
    for (const key of this.entries.keys()) {
      if (keys === undefined || isAbout(key, keys)) this.entries.delete(key);
    }
  }

  private async pass(verb: StoreVerb, ...keys: string[]): Promise<void> {
    if (verb === 'read') this.reads += 1;
    else this.writes += 1;
    await this.faults.pass(verb, keys);
  }

  private get(key: string): string | undefined {
    const entry = this.entries.get(key);
    if (entry?.expires === undefined || this.clock.now() < entry.expires) return entry?.value;
    this.entries.delete(key);
    return undefined;
  }

  private set(key: string, value: string, ttl: number | undefined): void {
    const expires = ttl === undefined ? undefined : this.clock.now() + ttl;
    this.entries.set(key, { value, expires });
  }

  private setIfAbsent(key: string, value: string, ttl: number | undefined): Standing {
    const standing = this.get(key);
    if (standing === undefined) this.set(key, value, ttl);
    return standing;
  }
}
