import {
  formatGeneration,
  type Generation,
  type Generations,
  parseGeneration,
} from './generations.js';
import { formatStaleMark, parseStaleMark, type StaleMark } from './stale-mark.js';

/** The record `s`: everything a guard has to know of one session. */
export interface SessionState {
  /** Final: nothing replaces it. */
  readonly isRevoked: boolean;
  readonly generations: Generations;
  readonly stale: StaleMark | undefined;
  /** Cluster only: keys of scopes that were left, and that judge the session until somebody has looked. */
  readonly left: readonly string[];
}

const REVOKED: SessionState = { isRevoked: true, generations: [], stale: undefined, left: [] };
const UNTOUCHED: SessionState = { isRevoked: false, generations: [], stale: undefined, left: [] };

/** The value of a revoked session. Redis shares small integers, so it takes no memory of its own. */
export const REVOKED_SESSION = '0';

/** Something was written about this session that cannot be read: it was no pardon, so it is revoked. */
export function parseSessionState(value: string | undefined): SessionState {
  if (value === undefined) return UNTOUCHED;
  const generations: Generation[] = [];
  let stale: StaleMark | undefined;
  let left: readonly string[] = [];
  for (const field of value.split(' ')) {
    switch (field[0]) {
      case 'S': {
        const mark = parseStaleMark(field);
        if (!mark || stale) return REVOKED;
        stale = mark;
        break;
      }
      case 'L':
        if (field.length < 2) return REVOKED;
        left = field.slice(1).split(',');
        break;
      default: {
        const generation = parseGeneration(field);
        const last = generations.at(-1);
        if (!generation || (last && (!last.arrived || last.n >= generation.n))) return REVOKED;
        generations.push(generation);
      }
    }
  }
  return { isRevoked: false, generations, stale, left };
}

/** @param state of a session that is not revoked, with something to say about it */
export function formatSessionState({ generations, stale, left }: SessionState): string {
  const fields = generations.map(formatGeneration);
  if (stale) fields.push(formatStaleMark(stale));
  if (left.length > 0) fields.push(`L${left.join(',')}`);
  return fields.join(' ');
}
