import { type Duration, toMilliseconds } from '../duration.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { ANY } from '../token/token-rules.js';

export type Complete<T> = { [K in keyof T]-?: T[K] };

/** Lays the given values over the defaults; a name without a default does not exist. */
export function complete<T extends object>(
  section: string,
  Defaults: new () => T,
  input: T | undefined,
): Complete<T> {
  const result = new Defaults() as Record<string, unknown>;
  if (input !== undefined && (typeof input !== 'object' || input === null)) {
    throw new JwtStateConfigError(`${section} must be an object.`);
  }
  for (const [name, value] of Object.entries(input ?? {})) {
    if (!Object.hasOwn(result, name)) {
      throw new JwtStateConfigError(
        `${section}: there is no option ${JSON.stringify(name)}. It knows: ${Object.keys(result).join(', ')}.`,
      );
    }
    if (value !== undefined) result[name] = value;
  }
  return result as Complete<T>;
}

export function checkChoice(name: string, value: unknown, choices: readonly unknown[]): void {
  if (choices.includes(value)) return;
  const known = choices.filter((choice) => choice !== undefined).map((c) => JSON.stringify(c));
  throw new JwtStateConfigError(
    `${name}: ${JSON.stringify(value)} is not one of ${known.join(', ')}.`,
  );
}

/** Tokens count in seconds: a fraction would round a promise away. */
export function wholeSeconds(name: string, value: Duration): number {
  const milliseconds = toMilliseconds(name, value, 1000);
  if (milliseconds % 1000 !== 0) {
    throw new JwtStateConfigError(`${name}: ${JSON.stringify(value)} is not in whole seconds.`);
  }
  return milliseconds;
}

/** An empty string would switch the check off in most libraries: refused. */
export function checkName(name: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new JwtStateConfigError(`${name} must be a string that is not empty.`);
}

export function checkAudience(
  name: string,
  value: string | readonly string[] | undefined,
): readonly string[] | typeof ANY | undefined {
  if (value === undefined || value === ANY) return value;
  const list = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new JwtStateConfigError(`${name} must name at least one.`);
  return list.map((item) => {
    const known = checkName(name, item);
    if (known === ANY) {
      throw new JwtStateConfigError(`${name}: '*' means any audience. Leave the other names out.`);
    }
    if (known !== undefined) return known;
    throw new JwtStateConfigError(`${name} names an undefined one: no token could fail it.`);
  });
}

export function checkCount(name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new JwtStateConfigError(
    `${name}: ${JSON.stringify(value)} is not a whole number from 0 on.`,
  );
}
