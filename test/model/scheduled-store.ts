import type { Clock } from '../../lib/clock.js';
import type { DenyListStore, Entry } from '../../lib/deny-list/deny-list.store.js';
import { formatUsed } from '../../lib/deny-list/records.js';
import { DenyListUnavailableError } from '../../lib/jwt-state.errors.js';

/** In ms. */
export const GRACE = 30_000;

/** How a step goes wrong, as its caller sees it: it always fails. */
export type Fault = 'never-lands' | 'lands' | 'lands-late';

interface Step {
  readonly label: string;
  /** Lets the effect happen and answers the caller. */
  run(): void;
  /** Answers the caller with a failure. */
  fail(fault: Fault): void;
}

/**
 * Everything that crosses a process boundary waits here until it is chosen: so a test decides the
 * order in which store and claims source see what they are asked.
 */
export class Scheduler {
  readonly waiting: Step[] = [];

  step<T>(label: string, effect: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.waiting.push({
        label,
        run: () => {
          try {
            resolve(effect());
          } catch (error) {
            reject(error);
          }
        },
        fail: (fault) => {
          if (fault === 'lands') effect();
          if (fault === 'lands-late') void this.step(`late ${label}`, effect).catch(() => {});
          reject(new DenyListUnavailableError(undefined, fault));
        },
      });
    });
  }

  take(index: number): Step {
    const [step] = this.waiting.splice(index, 1);
    if (!step) throw new Error('no such step');
    return step;
  }
}

/** A store whose every operation is one scheduled, atomic step. */
export class ScheduledStore implements DenyListStore {
  readonly atomic = 'store';
  readonly ephemeral = false;

  constructor(
    readonly entries: Map<string, string>,
    private readonly scheduler: Scheduler,
    private readonly process: 0 | 1,
  ) {}

  /** How long marks are kept is asked in between, and decides nothing about their order. */
  async #unscheduled(keys: readonly string[]) {
    return keys.map((key) => this.entries.get(key));
  }

  async #nameWitness(key: string, value: string) {
    const standing = this.entries.get(key);
    if (standing === undefined) this.entries.set(key, value);
    return standing;
  }

  read(keys: readonly string[]) {
    if (keys.every((key) => key.endsWith('witness'))) return this.#unscheduled(keys);
    return this.step('read', () => keys.map((key) => this.get(key)));
  }

  write(key: string, value: string) {
    return this.step(`write ${kind(key)}`, () => void this.entries.set(key, value));
  }

  writeIfAbsent(key: string, value: string) {
    if (key.endsWith('witness')) return this.#nameWitness(key, value);
    return this.step(`add ${kind(key)}`, () => {
      const standing = this.entries.get(key);
      if (standing === undefined) this.entries.set(key, value);
      return standing;
    });
  }

  writeIfUnchanged(key: string, expected: string | undefined, value: string) {
    if (key.endsWith('witness')) throw new Error('All live equally long here.');
    return this.step(`exchange ${kind(key)}`, () => {
      const current = this.entries.get(key);
      if (current !== expected) return { written: false, current };
      this.entries.set(key, value);
      return { written: true };
    });
  }

  protected get(key: string): string | undefined {
    return this.entries.get(key);
  }

  protected step<T>(verb: string, effect: () => T): Promise<T> {
    return this.scheduler.step(`${this.process} ${verb}`, effect);
  }
}

/**
 * Like memory, and Redis on one server: both records of a succession in one step. What is to end sooner
 * ends with the grace period, which is sooner than in fact.
 */
export class ScheduledPairStore extends ScheduledStore {
  readonly isOrdered = true;

  constructor(
    entries: Map<string, string>,
    scheduler: Scheduler,
    process: 0 | 1,
    private readonly ends: Map<string, number>,
    private readonly clock: Clock,
  ) {
    super(entries, scheduler, process);
  }

  conclude(jti: string, successor: string, next: string, ttl: number): Promise<void> {
    return this.step('conclude', () => {
      if (ttl < GRACE) throw new Error('It would be missing in the grace period.');
      const used = formatUsed(this.get(jti), successor);
      if (used === undefined) return;
      this.entries.set(jti, used);
      this.ends.set(next, this.clock.now() + GRACE);
    });
  }

  protected override get(key: string): string | undefined {
    const end = this.ends.get(key) ?? Number.POSITIVE_INFINITY;
    return this.clock.now() < end ? super.get(key) : undefined;
  }

  writeBothIfAbsent(first: Entry, second: Entry) {
    return this.step('add both', () => {
      const standing = this.get(first.key);
      if (standing !== undefined) return [standing, undefined] as const;
      const before = this.add(second);
      if (before === undefined) this.add(first);
      return [undefined, before] as const;
    });
  }

  removeIfUnchanged(key: string, expected: string): Promise<boolean> {
    return this.step(`remove ${kind(key)}`, () => {
      return this.entries.get(key) === expected && this.entries.delete(key);
    });
  }

  private add({ key, value }: Entry): string | undefined {
    const standing = this.get(key);
    if (standing !== undefined) return standing;
    this.entries.set(key, value);
    this.ends.delete(key);
    return undefined;
  }
}

function kind(key: string): string {
  return key.replace(':r:', ':').split(':')[1] ?? key;
}
