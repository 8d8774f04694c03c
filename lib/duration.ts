import ms from 'ms';
import { JwtStateConfigError } from './jwt-state.errors.js';

/**
 * A length of time: a number of **seconds**, or a string with its unit: `'150ms'`, `'30s'`,
 * `'15m'`, `'12h'`, `'30d'`.
 */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd' | 'w'}`;

/** A hundred years: beyond them stores lose count. */
const LONGEST_MS = 100 * 365 * 24 * 3_600_000;

/** Beyond this, Node's timers fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The same for something a timer waits for. */
export function toTimeout(name: string, value: Duration): number {
  const milliseconds = toMilliseconds(name, value);
  if (milliseconds <= LONGEST_TIMER_MS) return milliseconds;
  throw new JwtStateConfigError(
    `${name}: ${JSON.stringify(value)} is longer than a timer can wait.`,
  );
}

/** Milliseconds, a whole number of at least `least`; anything else stops the boot. */
export function toMilliseconds(name: string, value: Duration, least = 1): number {
  const milliseconds = typeof value === 'number' ? value * 1000 : parse(value);
  if (!(milliseconds <= LONGEST_MS) || milliseconds < least) {
    throw new JwtStateConfigError(
      `${name}: ${JSON.stringify(value)} is not a duration. Use a number of seconds or a string ` +
        `such as '30s' or '15m'${least > 1 ? `, at least ${least} ms` : ''}, at most 100 years.`,
    );
  }
  return Math.round(milliseconds);
}

function parse(value: unknown): number {
  // A bare '900' would be milliseconds to `ms` and seconds to most readers: refused.
  if (typeof value !== 'string' || !/^\d+(\.\d+)?\s*[a-z]+$/i.test(value)) return Number.NaN;
  return ms(value as ms.StringValue) ?? Number.NaN;
}
