import { inspect } from 'node:util';
import type { Claims } from '../token/verified-token.js';
import { isMatch } from './claims-match.js';
import { type Expectation, ExpectationError } from './expectation.error.js';

/** Claims may be shown, tokens never. @throws ExpectationError */
export function compareClaims(
  expectation: Expectation,
  whose: string,
  actual: Claims,
  expected: Claims = {},
): void {
  const wrong = Object.keys(expected).filter((name) => !isMatch(actual[name], expected[name]));
  if (wrong.length === 0) return;
  const list = wrong.map(
    (name) => `${name} is ${show(actual[name])}, expected ${show(expected[name])}`,
  );
  throw new ExpectationError(
    expectation,
    `${whose} has other claims than expected: ${list.join('; ')}.`,
    { actual: pick(actual, wrong), expected: pick(expected, wrong) },
  );
}

function show(value: unknown): string {
  return inspect(value, { depth: 4, breakLength: Number.POSITIVE_INFINITY });
}

function pick(claims: Claims, names: readonly string[]): Claims {
  return Object.fromEntries(names.map((name) => [name, claims[name]]));
}
