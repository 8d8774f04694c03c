import type { Platform } from '../contenders/contender.js';
import { goalOf, type Report } from '../report.js';
import { combine, ratioOf, type Spread } from '../stats.js';

/** One slice of one contender. */
export interface Sample {
  readonly perSecond: number;
  /** Of the server's process, in microseconds per request. */
  readonly cpu: number;
  /** How busy the client was. */
  readonly busy: number;
}

export type Samples = ReadonlyMap<string, readonly Sample[]>;

/**
 * Both ways of looking: by requests, which is what a user sees, and by the server's CPU time, which
 * says the same on a quiet machine and is disturbed less on one that is not.
 */
const MEASURES: readonly (readonly [name: string, speed: (sample: Sample) => number])[] = [
  ['requests', ({ perSecond }) => perSecond],
  ['CPU', ({ cpu }) => 1 / cpu],
];

const LIMITS = {
  express: { ofUnguarded: 0.95, ofRecipe: 2.5 },
  fastify: { ofUnguarded: 0.9, ofRecipe: 6 },
} as const;
const NEAR_OF_MEMORY = 0.97;
const RIVALS = { express: 'express-jwt', fastify: 'fastify-jwt' } as const;

export function reportHttpGoals(
  platform: Platform,
  where: string,
  samples: Samples,
  report: Report,
): void {
  const { ofUnguarded, ofRecipe } = LIMITS[platform];
  const rival = RIVALS[platform];
  for (const [measure, speed] of MEASURES) {
    const speeds = (name: string) => samples.get(name)?.map(speed);
    const expectRatio = (goal: string, of: string, to: string, limit: number) => {
      const [values, base] = [speeds(of), speeds(to)];
      if (!values || !base) return;
      report.goal(goalOf(`${goal}, by ${measure}`, where, ratioOf(values, base), '>=', limit));
    };
    expectRatio('in memory, of unguarded', 'jwt-state', 'unguarded', ofUnguarded);
    expectRatio('client-side caching, of in memory', 'jwt-state-near', 'jwt-state', NEAR_OF_MEMORY);
    expectRatio("in memory, of the Nest docs' recipe", 'jwt-state', 'recipe', ofRecipe);

    const kept = shareKept(speeds('jwt-state'), speeds('unguarded'));
    const rivalKept = shareKept(speeds(rival), speeds(platform));
    if (!kept || !rivalKept) continue;
    const lead = combine(kept.rounds, rivalKept.rounds, (own, other) => own - other);
    report.goal(goalOf(`share kept beyond ${rival}'s, by ${measure}`, where, lead, '>', 0));
  }
}

/** Of the throughput of the same framework without a guard. */
function shareKept(
  guarded: readonly number[] | undefined,
  unguarded: readonly number[] | undefined,
): Spread | undefined {
  return guarded && unguarded && ratioOf(guarded, unguarded);
}
