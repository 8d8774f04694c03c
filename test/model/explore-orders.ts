import type { Fault, Scheduler } from './scheduled-store.js';

/** What is explored: actors whose steps wait in one scheduler, and what must hold when all is quiet. */
export interface Stage {
  readonly scheduler: Scheduler;
  /** How each actor has ended. */
  readonly outcomes: ReadonlyMap<string, string>;
  begin(): Promise<void>;
  settle(): Promise<void>;
  /** What went wrong, if anything did. */
  checkAfterwards(): Promise<string[]>;
}

export interface Findings {
  runs: number;
  /** Each with the order of steps that led there. */
  readonly failures: string[];
  readonly endings: Set<string>;
}

interface Bounds {
  /** Of one run: 0 or 1. */
  readonly faults?: 0 | 1;
  /** More runs than this are an error: a test must not get slow without a word. */
  readonly limit: number;
}

interface Option {
  readonly index: number;
  readonly fault?: Fault;
}

type Choose = (options: readonly Option[], depth: number) => Option | undefined;

/**
 * Every order of steps, and with `faults: 1` every single fault in each of them. Of two orders that
 * differ only in neighbouring steps which cannot influence each other, one is tried.
 */
export async function exploreOrders(
  stage: () => Stage,
  { faults = 0, limit }: Bounds,
): Promise<Findings> {
  const findings: Findings = { runs: 0, failures: [], endings: new Set() };
  let path: number[] = [];
  do {
    const taken: number[] = [];
    const widths: number[] = [];
    const prefix = path;
    await runOnce(stage(), findings, { faults, skipsAlike: true }, (options, depth) => {
      const choice = prefix[depth] ?? 0;
      widths.push(options.length);
      taken.push(choice);
      return options[choice];
    });
    path = nextPath(taken, widths);
    if (findings.runs > limit) throw new Error(`more than ${limit} orders`);
  } while (path.length > 0);
  return findings;
}

/** Where the fault of a run happens, when it is drawn by chance: one of the first so many steps. */
const STEPS = 14;

/** Some of them, drawn by chance, the same in every run of the test. */
export async function exploreSomeOrders(
  stage: () => Stage,
  runs: number,
  faults: 0 | 1 = 0,
): Promise<Findings> {
  const findings: Findings = { runs: 0, failures: [], endings: new Set() };
  const random = seeded(runs);
  const draw = (below: number) => Math.floor(random() * below);
  for (let run = 0; run < runs; run++) {
    const failsAt = draw(STEPS);
    await runOnce(stage(), findings, { faults, skipsAlike: false }, (options, depth) => {
      const failing = options.filter(({ fault }) => fault !== undefined);
      const isDue = depth >= failsAt && failing.length > 0;
      const drawn = isDue ? failing : options.filter(({ fault }) => fault === undefined);
      return drawn[draw(drawn.length)];
    });
  }
  return findings;
}

/** Depth first: the last step that has an alternative takes it. */
function nextPath(taken: readonly number[], widths: readonly number[]): number[] {
  for (let depth = taken.length - 1; depth >= 0; depth--) {
    const choice = (taken[depth] as number) + 1;
    if (choice < (widths[depth] as number)) return [...taken.slice(0, depth), choice];
  }
  return [];
}

async function runOnce(
  stage: Stage,
  findings: Findings,
  { faults, skipsAlike }: { faults: number; skipsAlike: boolean },
  choose: Choose,
): Promise<void> {
  await stage.begin();
  const { waiting } = stage.scheduler;
  const trace: string[] = [];
  let faultsLeft = faults;
  let last = '';
  let before = new Set<object>();
  for (let depth = 0; waiting.length > 0; depth++) {
    const options = optionsAmong(waiting, { before, last, mayFail: faultsLeft > 0, skipsAlike });
    const option = choose(options, depth);
    // None left: another order, with the last two steps the other way round, is the same as this one.
    if (option === undefined) return;
    const { index, fault } = option;
    before = new Set(waiting);
    const step = stage.scheduler.take(index);
    last = step.label;
    trace.push(fault ? `${last} [${fault}]` : last);
    if (fault) {
      faultsLeft -= 1;
      step.fail(fault);
    } else {
      step.run();
    }
    await stage.settle();
  }
  findings.runs += 1;
  for (const [name, outcome] of stage.outcomes) findings.endings.add(`${name}: ${outcome}`);
  const violations = await stage.checkAfterwards();
  if (violations.length > 0) {
    findings.failures.push(`${violations.join('; ')}\n    ${trace.join('\n    ')}`);
  }
}

interface Situation {
  /** What was waiting before the last step. */
  readonly before: ReadonlySet<object>;
  /** Its label. */
  readonly last: string;
  readonly mayFail: boolean;
  /** Whether of two orders that come to the same one is left out. */
  readonly skipsAlike: boolean;
}

function optionsAmong(
  waiting: readonly { label: string }[],
  { before, last, mayFail, skipsAlike }: Situation,
): Option[] {
  const news = waiting.filter((step) => !before.has(step));
  // Who has begun does something: when exactly between two steps of others he began is no matter.
  const isForced = /^\d start/.test(last) && news.length === 1;
  return waiting.flatMap((step, index) => {
    if (isForced && step !== news[0]) return [];
    const isLate = before.has(step) && processOf(step.label) < processOf(last);
    if (skipsAlike && isLate && isIndependent(step.label, last)) return [];
    const faults = mayFail ? faultsOf(step.label) : [];
    return [{ index }, ...faults.map((fault) => ({ index, fault }))];
  });
}

function processOf(label: string): string {
  return /\d/.exec(label)?.[0] ?? '';
}

/** Reads do not influence each other, and only a change of the truth influences the source. */
function isIndependent(one: string, other: string): boolean {
  const looks = /^\d (read|source|start (refresh|switch))/;
  const asks = /^\d source/;
  const isStored = (label: string) => /(read|source|add|write|exchange|remove) ?/.test(label);
  return (
    (looks.test(one) && looks.test(other)) ||
    (asks.test(one) && isStored(other)) ||
    (asks.test(other) && isStored(one))
  );
}

function faultsOf(label: string): readonly Fault[] {
  if (/^\d (read|source)/.test(label)) return ['never-lands'];
  return /^\d (add|write|exchange)/.test(label) ? ['never-lands', 'lands', 'lands-late'] : [];
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 0) / 4_294_967_296;
  };
}
