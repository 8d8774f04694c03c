/** The function that the test has called: the stack begins there. */
// biome-ignore lint/complexity/noBannedTypes: what Error.captureStackTrace takes
export type Expectation = Function;

/**
 * An expectation that was not met. No `AssertionError` of Node: Jest would add to its message that it
 * compared `undefined` with `undefined`.
 *
 * @publicApi
 */
export class ExpectationError extends Error {
  override readonly name = 'ExpectationError';
  /** The claims in question, where some differ; Vitest shows their difference. */
  declare readonly actual?: unknown;
  declare readonly expected?: unknown;

  /** @internal */
  constructor(expectation: Expectation, message: string, differing?: Differing) {
    super(message);
    Object.assign(this, differing);
    Error.captureStackTrace(this, expectation);
  }
}

interface Differing {
  readonly actual: unknown;
  readonly expected: unknown;
}
