import { parseArgs } from 'node:util';
import ms, { type StringValue } from 'ms';
import { PLATFORMS, type Platform } from './contenders/contender.js';
import { ALGORITHMS, type Algorithm } from './keys.js';

export const GROUPS = [
  'http',
  'store-size',
  'bytes',
  'invalidation',
  'reissue',
  'issue-refresh',
] as const;
export type GroupName = (typeof GROUPS)[number];

export interface Settings {
  readonly groups: readonly GroupName[];
  readonly platforms: readonly Platform[];
  readonly algorithms: readonly Algorithm[];
  /** Only these; all by default. */
  readonly contenders: readonly string[] | undefined;
  /** How many distinct tokens the client uses. */
  readonly tokens: readonly number[];
  /** How many entries the deny list has, over HTTP. */
  readonly entries: readonly number[];
  /** The same where only the store is looked at. */
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** Both in milliseconds, for each contender and round. */
  readonly slice: number;
  readonly warmUp: number;
  readonly connections: number;
  readonly out: string;
  /** A folder for a CPU profile of each server; the figures of such a run are not to be quoted. */
  readonly profile: string | undefined;
}

const FLAGS = {
  only: { type: 'string' },
  platform: { type: 'string' },
  alg: { type: 'string' },
  contenders: { type: 'string' },
  tokens: { type: 'string' },
  entries: { type: 'string' },
  sizes: { type: 'string' },
  rounds: { type: 'string' },
  slice: { type: 'string' },
  'warm-up': { type: 'string' },
  connections: { type: 'string' },
  out: { type: 'string' },
  profile: { type: 'string' },
  quick: { type: 'boolean' },
} as const;

/** For figures that count; `--quick` is for seeing whether it runs. */
const FULL = { rounds: 11, slice: 700, warmUp: 2_000 };
const QUICK = { rounds: 3, slice: 300, warmUp: 500 };

export function readSettings(args: readonly string[]): Settings {
  const { values } = parseArgs({ args: [...args], options: FLAGS, strict: true });
  const { quick = false } = values;
  const defaults = quick ? QUICK : FULL;
  const settings: Settings = {
    groups: choose('only', values.only, GROUPS),
    platforms: choose('platform', values.platform, PLATFORMS),
    algorithms: choose('alg', values.alg, quick ? ['HS256'] : ALGORITHMS),
    contenders: values.contenders?.split(','),
    tokens: numbers(values.tokens) ?? (quick ? [8, 1_000] : [8, 10_000]),
    entries: numbers(values.entries) ?? (quick ? [1_000] : [1_000, 1_000_000]),
    sizes: numbers(values.sizes) ?? (quick ? [1_000, 100_000] : [1_000, 1_000_000, 10_000_000]),
    rounds: numbers(values.rounds)?.[0] ?? defaults.rounds,
    slice: duration(values.slice) ?? defaults.slice,
    warmUp: duration(values['warm-up']) ?? defaults.warmUp,
    connections: numbers(values.connections)?.[0] ?? 32,
    out: values.out ?? 'bench-results.json',
    profile: values.profile,
  };
  return settings;
}

function choose<T extends string>(
  flag: string,
  given: string | undefined,
  known: readonly T[],
): readonly T[] {
  if (given === undefined) return known;
  const all: readonly string[] = flag === 'alg' ? ALGORITHMS : known;
  return given.split(',').map((name) => {
    if (all.includes(name)) return name as T;
    throw new Error(`--${flag}: there is no ${name}; there are ${all.join(', ')}.`);
  });
}

function numbers(given: string | undefined): number[] | undefined {
  return given?.split(',').map((text) => {
    const value = Number(text);
    if (Number.isSafeInteger(value) && value > 0) return value;
    throw new Error(`${text} is not a whole number above 0.`);
  });
}

function duration(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const value = ms(given as StringValue);
  if (typeof value === 'number' && value > 0) return value;
  throw new Error(`${given} is not a duration, such as 1.5s.`);
}
