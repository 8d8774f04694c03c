import { DenyListUnavailableError } from '../../../lib/jwt-state.errors.js';
import type { StateStore, Step, Values } from '../../../lib/store/state-store.js';
import type { Choose } from './choices.js';

/** Something that crosses a process boundary, and waits until it is chosen. */
export interface Pending {
  readonly process: number;
  readonly label: string;
  readonly kind: 'read' | 'commit' | 'other';
  /** Lets it happen, and answers the process. */
  run(): void;
  /** The process hears of a failure; what happened all the same is another matter. */
  fail(): void;
  /** For a commit: lets it happen, and answers nobody. */
  land?(): void;
}

interface Entry {
  readonly value: string;
  /** In ms. */
  readonly end: number;
}

/** Where everything waits: the store's operations, the claims source, the database. */
export class Stage {
  readonly waiting: Pending[] = [];
  /** Commits that were answered with a failure and have not landed yet. */
  readonly late: (() => void)[] = [];
  entries = new Map<string, Entry>();
  /** What the store held before each commit that landed. */
  readonly history: Map<string, Entry>[] = [];
  keepsHistory = false;
  now = 1_800_000_000_000;
  /** Hears of every commit in the moment in which it lands. */
  onLanding: (step: Step) => void = () => {};
  trace: string[] | undefined;

  log(line: string): void {
    this.trace?.push(`${String((this.now - 1_800_000_000_000) / 1000).padStart(6)}  ${line}`);
  }

  get(key: string): string | undefined {
    const entry = this.entries.get(key);
    return entry && entry.end > this.now ? entry.value : undefined;
  }

  /** `undefined`: it has landed; else what stands under the checked keys. */
  land(step: Step): Values | undefined {
    const current = step.checks.map(({ key }) => this.get(key));
    if (step.checks.some(({ expected }, index) => expected !== current[index])) return current;
    if (this.keepsHistory) this.history.push(new Map(this.entries));
    this.onLanding(step);
    for (const { key, value, ttl } of step.writes) {
      const end = ttl === undefined ? Number.POSITIVE_INFINITY : this.now + ttl;
      const standing = this.entries.get(key);
      const left = standing && standing.end > this.now ? standing.end : 0;
      this.entries.set(key, { value, end: Math.max(end, left) });
    }
    return undefined;
  }

  /** A step of the world outside, by name. */
  step<T>(process: number, label: string, effect: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.waiting.push({
        process,
        label,
        kind: 'other',
        run: () => {
          try {
            resolve(effect());
          } catch (error) {
            reject(error);
          }
        },
        fail: () => reject(new DenyListUnavailableError()),
      });
    });
  }

  /** The store as one process has it. */
  storeOf(process: number): StateStore {
    return {
      atomic: 'store',
      instant: true,
      ephemeral: false,
      read: (keys) => this.read(process, keys),
      commit: (step) => this.commit(process, step),
    };
  }

  private read(process: number, keys: readonly string[]): Promise<Values> {
    return new Promise((resolve, reject) => {
      this.waiting.push({
        process,
        label: 'read',
        kind: 'read',
        run: () => {
          const values = keys.map((key) => this.get(key));
          if (this.trace) this.log(`p${process} read ${listed(keys, values)}`);
          resolve(values);
        },
        fail: () => {
          this.log(`p${process} read fails`);
          reject(new DenyListUnavailableError());
        },
      });
    });
  }

  private commit(process: number, step: Step): Promise<Values | undefined> {
    return new Promise((resolve, reject) => {
      const say = (how: string) =>
        this.trace && this.log(`p${process} commit ${how} ${written(step)}`);
      this.waiting.push({
        process,
        label: 'commit',
        kind: 'commit',
        run: () => {
          const standing = this.land(step);
          say(standing ? 'CONFLICT' : '');
          resolve(standing);
        },
        fail: () => {
          say('fails:');
          reject(new DenyListUnavailableError());
        },
        land: () => {
          const standing = this.land(step);
          say(standing ? 'lands: CONFLICT' : 'lands:');
        },
      });
    });
  }

  /** Lets one of the waiting things happen, or go wrong. @returns whether it went wrong */
  perform(index: number, mayFail: boolean, choose: Choose, chance: number): boolean {
    const [pending] = this.waiting.splice(index, 1);
    if (!pending) throw new Error('no such step');
    const faults = pending.kind === 'commit' ? 4 : pending.kind === 'read' ? 2 : 1;
    const fault = mayFail && faults > 1 ? choose(faults, chance) : 0;
    if (fault === 0) {
      pending.run();
      return false;
    }
    // 1: never happens. 2: happens, and nobody hears of it. 3: happens later.
    if (fault === 2) pending.land?.();
    if (fault === 3 && pending.land) this.late.push(pending.land);
    pending.fail();
    return true;
  }
}

function listed(keys: readonly string[], values: Values): string {
  return keys
    .map((key, index) => `${short(key)}=${values[index]?.slice(0, 160) ?? '-'}`)
    .filter((line) => !line.startsWith('w='))
    .join('  ');
}

function written({ writes }: Step): string {
  return writes.map(({ key, value }) => `${short(key)}:=${value.slice(0, 160)}`).join('  ');
}

/** The kind of record, and the beginning of its id. */
function short(key: string): string {
  const [kind = '', ...rest] = key.split(':');
  return rest.length === 0 ? kind : `${kind}:${rest.join(':').slice(0, 10)}`;
}
