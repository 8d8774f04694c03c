import type { BenchKeys } from '../keys.js';

export const PLATFORMS = ['express', 'fastify'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** What a contender is given to start with. */
export interface Setup {
  readonly platform: Platform;
  readonly keys: BenchKeys;
  /** A server whose deny list is filled already. */
  readonly redis: string | undefined;
  /** How many revocations lie in a deny list that is kept in the process. */
  readonly entries: number;
  /** How many tokens to issue, for a contender that accepts only its own. */
  readonly tokens: number;
}

export interface Running {
  readonly port: number;
  /** Its own; without them it takes those that everybody takes. */
  readonly tokens?: readonly string[];
}

/** One way to guard a route, or not to. It answers `GET /` with the same JSON as all others. */
export interface Contender {
  readonly name: string;
  readonly title: string;
  /** Whose throughput is 1: the same framework without a guard. */
  readonly baseline: string;
  readonly platforms: readonly Platform[];
  readonly needsRedis: boolean;
  start(setup: Setup): Promise<Running>;
}

/** What every route answers. */
export const ANSWER = { status: 'ok', items: [1, 2, 3] } as const;
