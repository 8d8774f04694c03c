import type { VerifiedToken } from '../../../lib/token/verified-token.js';
import { type Act, enter, Performer } from './actors.js';
import { type Choose, drawing, repeating } from './choices.js';
import type { Scene } from './scenes.js';
import { type Budget, HANDLER, type Setting, SKEW, World } from './world.js';

const BUDGET: Budget = { faults: 2, jumps: 2, crashes: 1, drops: 1, losses: 0 };
const JUMPS = [1, 31, 66, 130];
/** A schedule that is longer than this is cut off. */
const STEPS = 400;

export interface Run {
  readonly violations: readonly string[];
  readonly steps: number;
}

/** One schedule: who goes first, what fails, and when, is what `choose` says. */
export async function runSchedule(
  scene: Scene,
  setting: Pick<Setting, 'skew' | 'arrivesWhenConfirmed'>,
  choose: Choose,
  trace?: string[],
): Promise<Run> {
  const budget = { ...BUDGET, ...scene.budget };
  const { twoHolders = false, access = 900 } = scene;
  const world = new World({ ...setting, twoHolders, access: access * 1000 }, choose, budget, trace);
  await prepare(world, scene);
  for (const [index, acts] of scene.actors.entries()) {
    const process = acts[0]?.process ?? 0;
    void runActor(world, 'ABCDEFGH'[index] as string, process, acts);
  }
  let steps = 0;
  await world.settle();
  for (; steps < STEPS && hasWork(world); steps++) {
    disturb(world, scene);
    const { waiting, late } = world.stage;
    if (!hasWork(world)) break;
    const index = choose(waiting.length + late.length);
    if (index < waiting.length) {
      if (world.stage.perform(index, budget.faults > 0, choose, 0.06)) budget.faults -= 1;
    } else {
      (late.splice(index - waiting.length, 1)[0] as () => void)();
    }
    await world.settle();
    if (world.violations.length > 0) return { violations: world.violations, steps };
  }
  await afterwards(world, scene);
  return { violations: world.violations, steps };
}

async function prepare(
  world: World,
  { sessions = 1, first = [], ignoresNews }: Scene,
): Promise<void> {
  for (let n = 0; n < sessions; n++) {
    const { starter } = world.cores[0] as (typeof world.cores)[0];
    const begun = await world.alone(starter.begin('u1', { tenant: 'acme' }));
    const issued = await world.alone(starter.start(begun));
    const session = enter(world, 'u1', issued.claims, issued.refreshClaims as VerifiedToken);
    if (ignoresNews) session.client.ignoresNews = true;
  }
  for (const act of first) await world.alone(new Performer(world, '-').perform(act));
}

/** When each of his acts begins is chosen like everything else. */
async function runActor(
  world: World,
  name: string,
  process: number,
  acts: readonly Act[],
): Promise<void> {
  for (const act of acts) {
    const where = act.process ?? process;
    await world.stage.step(where, `${name} begins`, () => {});
    await new Performer(world, name).perform({ process: where, ...act });
  }
}

function hasWork({ stage }: World): boolean {
  return stage.waiting.length > 0 || stage.late.length > 0;
}

function disturb(world: World, { jumps = JUMPS }: Scene): void {
  const { budget, choose, stage } = world;
  if (budget.jumps > 0) {
    const jump = choose(1 + jumps.length, 0.04);
    if (jump > 0) {
      budget.jumps -= 1;
      stage.now += (jumps[jump - 1] as number) * 1000;
      stage.log(`--- ${jumps[jump - 1]} s pass`);
    }
  }
  if (budget.crashes > 0) {
    const crash = choose(1 + world.cores.length, 0.01);
    if (crash > 0) {
      budget.crashes -= 1;
      stage.log(`--- process ${crash - 1} dies and begins anew`);
      const alive = stage.waiting.filter(({ process }) => process !== crash - 1);
      stage.waiting.splice(0, stage.waiting.length, ...alive);
      world.restart(crash - 1);
    }
  }
  if (budget.losses > 0 && stage.history.length > 0) {
    const back = choose(1 + Math.min(3, stage.history.length), 0.03);
    if (back > 0) {
      budget.losses -= 1;
      stage.entries = stage.history[stage.history.length - back] as typeof stage.entries;
      stage.history.length -= back;
      world.isLost = true;
      stage.log(`--- failover: the last ${back} writes are lost`);
    }
  }
}

/** All is quiet, and nothing fails any more. */
async function afterwards(world: World, scene: Scene): Promise<void> {
  const { budget, stage } = world;
  Object.assign(budget, { faults: 0, crashes: 0, jumps: 0, drops: 0 });
  const probe = async (label: string, act: Act) => {
    if (world.violations.length > 0) return;
    await world.alone(new Performer(world, label).perform(act));
    await quiet(world);
  };
  const probeClients = async (label: string) => {
    for (const [session, { tab }] of [...world.sessions.values()].entries()) {
      for (const process of world.cores.keys()) {
        await probe(label, { kind: 'visit', session, process });
        if (tab) await probe(label, { kind: 'visit', session, process, tab: true });
      }
    }
  };
  await quiet(world);
  await probeClients('probe');
  await probeDead(world);
  stage.now += HANDLER + 2 * SKEW + 6_000;
  stage.log('--- beyond every deadline');
  if (world.truthUnsure === 0 && world.unmarked === 0) {
    world.announced = world.isLost ? 0 : world.version;
  }
  await probeClients('later');
  stage.now += 120_000;
  stage.log('--- 120 s later');
  await probeClients('later still');
  if (!scene.skipsRefreshProbe) {
    for (const session of [...world.sessions.values()].keys()) {
      for (let n = 0; n < 2; n++) {
        await probe('refresh probe', { kind: 'refresh', session });
        stage.now += 40_000;
      }
    }
  }
  await probeDead(world);
}

/** What was left running comes to its end; what waits for a process that has died does not. */
async function quiet(world: World): Promise<void> {
  for (let n = 0; n < 200 && world.stage.waiting.length > 0; n++) {
    world.stage.perform(0, false, () => 0, 0);
    await world.settle();
  }
}

/** No token of a session that was ended works anywhere. */
async function probeDead(world: World): Promise<void> {
  if (world.isLost) return;
  const isDead = ({ sid }: VerifiedToken) => world.sessions.get(sid)?.dead ?? false;
  const tried = async (task: Promise<unknown>, what: string) => {
    const runs = await world.alone(
      task.then(
        () => true,
        () => false,
      ),
    );
    if (runs) world.bad(2, `${what} of a revoked session works`);
  };
  for (const token of world.tokens.filter(isDead)) {
    if (world.violations.length > 0) return;
    const core = world.cores[1 % world.cores.length] as (typeof world.cores)[0];
    await tried(core.resolver.resolve(token, 'reissue'), `gen ${token.seen.gen ?? 0}`);
  }
  for (const token of world.refreshTokens.filter(isDead)) {
    if (world.violations.length > 0) return;
    const [core] = world.cores as [(typeof world.cores)[0]];
    await tried(core.refresher.refresh(token, world.stage.now), `r${token.seen.gen ?? 0}`);
  }
}

// --- exploring ---------------------------------------------------------------------------------------------

export interface Found {
  /** The choices that led there. */
  readonly taken: readonly number[];
  readonly violation: string;
  readonly setting: Pick<Setting, 'skew' | 'arrivesWhenConfirmed'>;
}

const SKEWS = [
  [-2_500, 2_500],
  [2_500, -2_500],
  [0, 0],
];
const WIDEST = [
  [-5_000, 5_000],
  [5_000, -5_000],
];

/** Schedules drawn by chance, the same in every run. @returns the first violation, if there is one */
export async function explore(
  scene: Scene,
  runs: number,
  { seed = 1, arrivesWhenConfirmed = false } = {},
): Promise<Found | undefined> {
  const skews = scene.isWidest ? WIDEST : SKEWS;
  for (let run = 0; run < runs; run++) {
    const { choose, taken } = drawing(seed + run * 7919);
    const setting = { skew: skews[run % skews.length] as number[], arrivesWhenConfirmed };
    const { violations } = await runSchedule(scene, setting, choose);
    if (violations.length > 0) return { taken, violation: violations[0] as string, setting };
  }
  return undefined;
}

/** Every schedule. @throws where there are more than so many: a test must not get slow without a word */
export async function exploreEvery(
  scene: Scene,
  limit: number,
  arrivesWhenConfirmed = false,
): Promise<{ runs: number; found?: Found }> {
  const setting = { skew: [0, 0], arrivesWhenConfirmed };
  let path: number[] = [];
  for (let runs = 1; ; runs++) {
    const taken: number[] = [];
    const widths: number[] = [];
    const { violations } = await runSchedule(scene, setting, (n) => {
      const value = path[taken.length] ?? 0;
      taken.push(value);
      widths.push(n);
      return value;
    });
    if (violations.length > 0) {
      return { runs, found: { taken, violation: violations[0] as string, setting } };
    }
    path = nextPath(taken, widths);
    if (path.length === 0) return { runs };
    if (runs >= limit) throw new Error(`more than ${limit} schedules`);
  }
}

/** Depth first: the last choice that has an alternative takes it. */
function nextPath(taken: readonly number[], widths: readonly number[]): number[] {
  for (let depth = taken.length - 1; depth >= 0; depth--) {
    const value = (taken[depth] as number) + 1;
    if (value < (widths[depth] as number)) return [...taken.slice(0, depth), value];
  }
  return [];
}

/** The shortest schedule that breaks the same promise, as far as leaving out choices finds it. */
export async function shrink(
  scene: Scene,
  { taken, violation, setting }: Found,
): Promise<string[]> {
  const promise = violation.slice(0, 3);
  const fails = async (list: readonly number[]) => {
    const { violations } = await runSchedule(scene, setting, repeating(list));
    return violations.some((one) => one.startsWith(promise));
  };
  let list = [...taken];
  for (let hasChanged = true; hasChanged; ) {
    hasChanged = false;
    for (let size = Math.max(1, list.length >> 1); size >= 1; size >>= 1) {
      for (let at = 0; at + size <= list.length; at++) {
        const shorter = [...list.slice(0, at), ...list.slice(at + size)];
        if (!(await fails(shorter))) continue;
        list = shorter;
        hasChanged = true;
        at -= 1;
      }
    }
  }
  const trace: string[] = [];
  await runSchedule(scene, setting, repeating(list), trace);
  return trace;
}
