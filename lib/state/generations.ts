/*
 * Where a session stands: how often its access token was replaced (or its refresh token used), and since
 * when each generation is known to be with the client. CORE: docs/internals/core.md.
 */

/** One generation of a session's tokens. */
export interface Generation {
  /** 1 for the first token that replaced that of the log-in. */
  readonly n: number;
  /** Since when, in ms: what came before it is in its grace period from here. */
  readonly at: number;
  /**
   * `false`: it was made, and nobody knows yet whether the client has it. Only the last one can be so;
   * it ends nothing.
   */
  readonly arrived: boolean;
}

/** Ascending by `n`. */
export type Generations = readonly Generation[];

/** Generations that arrived within this part of a grace period are told apart no longer. */
const MERGED_WITHIN = 1 / 30;

/** The generation the session is at. */
export function currentOf(generations: Generations): number {
  return generations.at(-1)?.n ?? 0;
}

/** The latest time in the record, in ms. */
export function latestOf(generations: Generations): number {
  let latest = 0;
  for (const { at } of generations) if (at > latest) latest = at;
  return latest;
}

/** Since when a token of generation `n` is known to be replaced; `undefined`: nobody knows. */
export function overtakenSince(generations: Generations, n: number): number | undefined {
  return generations.find((later) => later.arrived && later.n > n)?.at;
}

/** Notes that the client has a token of generation `n`. The same list where that is known. */
export function withArrival(generations: Generations, n: number, now: number): Generations {
  if (n <= 0 || generations.some((other) => other.arrived && other.n >= n)) return generations;
  const arrival = { n, at: Math.max(now, latestOf(generations)), arrived: true };
  return [...generations.filter((other) => other.n !== n), arrival].sort((a, b) => a.n - b.n);
}

/**
 * Generation `n`, made at `at`, replaces what stands there. A generation that never arrived is dropped:
 * the later arrival counts for everything before it.
 */
export function withReplacement(
  generations: Generations,
  { n, at, arrived }: Generation,
  now: number,
  grace: number,
): Generations {
  const arrivals = generations.filter((other) => other.arrived);
  return pruned([...arrivals, { n, at, arrived }], now, grace);
}

/**
 * What is still needed of a list: the last entry, what is younger than the grace period, and the newest
 * older arrival, without which a token that is over would run again. At most 32 entries.
 */
export function pruned(generations: Generations, now: number, grace: number): Generations {
  const last = generations.at(-1);
  if (!last) return generations;
  const earlier = generations.slice(0, -1);
  const floor = earlier.findLast(({ at, arrived }) => arrived && now >= at + grace);
  const kept: Generation[] = floor ? [floor] : [];
  let group: Generation | undefined;
  for (const next of earlier) {
    if (now >= next.at + grace) continue;
    if (group && next.at - group.at < grace * MERGED_WITHIN) {
      // The later generation since the older time: a grace period ends that little earlier.
      group = { ...group, n: next.n };
      kept[kept.length - 1] = group;
    } else {
      group = next;
      kept.push(group);
    }
  }
  // Its own time stays: the next token is to be later than the latest time in the record.
  return [...kept, last];
}

/** `1` and thirteen digits: a record with nothing else in it is one integer, which Redis stores as such. */
export function formatGeneration({ n, at, arrived }: Generation): string {
  return `${arrived ? '' : '+'}${n}${String(at).padStart(TIME_DIGITS, '0')}`;
}

const TIME_DIGITS = 13;
const GENERATION = /^\+?[1-9]\d{13,28}$/;

/** @returns `undefined` for what is no generation */
export function parseGeneration(field: string): Generation | undefined {
  if (!GENERATION.test(field)) return undefined;
  const arrived = field.charCodeAt(0) !== PLUS;
  const n = Number(field.slice(arrived ? 0 : 1, -TIME_DIGITS));
  if (!Number.isSafeInteger(n)) return undefined;
  return { n, at: Number(field.slice(-TIME_DIGITS)), arrived };
}

const PLUS = 0x2b;
