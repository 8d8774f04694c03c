import type { Fault } from './scheduled-store.js';
import { type Actor, World } from './world.js';

export interface Exploration {
  runs: number;
  /** What went wrong, each with the order of steps that led there. */
  failures: string[];
  /** How each actor ended, over all runs, to see that the scenario is not vacuous. */
  endings: Map<string, number>;
}

/** Who acts, and on which store. */
export interface Scene {
  readonly cast: readonly Actor[];
  /** Whether the store writes both records of a succession at once. */
  readonly writesPairs: boolean;
}

type Choose = (options: number, depth: number, labels: readonly string[]) => number;
type Disturb = (label: string) => Fault | 'process-dies' | undefined;

/** Every order in which the steps of the actors can happen. */
export async function exploreAll(scene: Scene, limit: number): Promise<Exploration> {
  const exploration: Exploration = { runs: 0, failures: [], endings: new Map() };
  let path: number[] = [];
  do {
    const widths: number[] = [];
    const prefix = path;
    const taken: number[] = [];
    await runOnce(scene, exploration, (options, depth) => {
      widths.push(options);
      const choice = prefix[depth] ?? 0;
      taken.push(choice);
      return choice;
    });
    path = nextPath(taken, widths);
    if (exploration.runs > limit) throw new Error(`more than ${limit} orders`);
  } while (path.length > 0);
  return exploration;
}

/** Depth first: the last step that has an alternative takes it. */
function nextPath(taken: number[], widths: number[]): number[] {
  for (let depth = taken.length - 1; depth >= 0; depth--) {
    const choice = (taken[depth] as number) + 1;
    if (choice < (widths[depth] as number)) return [...taken.slice(0, depth), choice];
  }
  return [];
}

/** One order of events, by the labels of its steps; what is not named comes at the end. */
export async function exploreOne(scene: Scene, order: readonly string[]): Promise<Exploration> {
  const exploration: Exploration = { runs: 0, failures: [], endings: new Map() };
  await runOnce(scene, exploration, (_, depth, labels) => {
    const wanted = order[depth];
    if (wanted === undefined) return 0;
    if (!labels.includes(wanted)) throw new Error(`${wanted} is not among ${labels.join(', ')}`);
    return labels.indexOf(wanted);
  });
  return exploration;
}

/** What may go wrong on the way, and how often per step. */
export interface Disturbance {
  readonly storeFails?: number;
  /** Process 0, once in a run. */
  readonly processDies?: number;
}

/** Orders drawn by chance, from a seed that a failure can be repeated with. */
export async function exploreSome(
  scene: Scene,
  runs: number,
  { storeFails = 0, processDies = 0 }: Disturbance = {},
): Promise<Exploration> {
  const exploration: Exploration = { runs: 0, failures: [], endings: new Map() };
  for (let seed = 1; seed <= runs; seed++) {
    const random = mulberry32(seed);
    let died = false;
    const disturb: Disturb = (label) => {
      const isRemote = !/start|commit|late/.test(label);
      if (label.startsWith('0') && !died && random() < processDies) {
        died = true;
        return 'process-dies';
      }
      if (!isRemote || random() >= storeFails) return undefined;
      return FAULTS[Math.floor(random() * FAULTS.length)];
    };
    const before = exploration.failures.length;
    await runOnce(scene, exploration, (options) => Math.floor(random() * options), disturb);
    if (exploration.failures.length > before) {
      exploration.failures[before] = `seed ${seed}: ${exploration.failures[before]}`;
    }
  }
  return exploration;
}

const FAULTS: readonly Fault[] = ['never-lands', 'lands', 'lands-late'];

async function runOnce(
  scene: Scene,
  exploration: Exploration,
  choose: Choose,
  disturb: Disturb = () => undefined,
): Promise<void> {
  const world = new World(scene.writesPairs);
  await world.login();
  for (const actor of scene.cast) world.add(actor);
  const { waiting } = world.scheduler;
  const trace: string[] = [];
  for (let depth = 0; waiting.length > 0; depth++) {
    const step = world.scheduler.take(
      choose(
        waiting.length,
        depth,
        waiting.map(({ label }) => label),
      ),
    );
    const fault = disturb(step.label);
    trace.push(fault ? `${step.label} [${fault}]` : step.label);
    if (fault === 'process-dies') {
      // Nothing that process 0 still wanted will happen.
      const alive = waiting.filter(({ label }) => !/^(late )?0/.test(label));
      waiting.splice(0, waiting.length, ...alive);
    } else if (fault) {
      step.fail(fault);
    } else {
      step.run();
    }
    await world.settle();
  }
  exploration.runs += 1;
  for (const [name, outcome] of world.outcomes) {
    const ending = `${name}: ${outcome.ok ? 'ok' : outcome.code}`;
    exploration.endings.set(ending, (exploration.endings.get(ending) ?? 0) + 1);
  }
  const violations = await world.checkAfterwards();
  if (violations.length > 0) {
    exploration.failures.push(`${violations.join('; ')}\n    ${trace.join('\n    ')}`);
  }
}

/** A small seeded generator; runs must be repeatable, not unpredictable. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
