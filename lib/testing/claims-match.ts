import { isObject } from '../token/token-form.js';

/** `expect.any(String)` and its like, of Jest and of Vitest. */
interface AsymmetricMatcher {
  asymmetricMatch(value: unknown): boolean;
}

/**
 * Whether what is expected is in there: objects may hold more, lists may not; `undefined` is for what
 * must be absent. As `toMatchObject`, without a test framework.
 */
export function isMatch(actual: unknown, expected: unknown): boolean {
  if (isAsymmetric(expected)) return expected.asymmetricMatch(actual);
  if (Array.isArray(expected)) {
    return (
      Array.isArray(actual) &&
      actual.length === expected.length &&
      expected.every((item, index) => isMatch(actual[index], item))
    );
  }
  if (!isObject(expected)) return Object.is(actual, expected);
  return (
    isObject(actual) &&
    Object.entries(expected).every(([name, value]) => isMatch(actual[name], value))
  );
}

function isAsymmetric(value: unknown): value is AsymmetricMatcher {
  return isObject(value) && typeof value.asymmetricMatch === 'function';
}
