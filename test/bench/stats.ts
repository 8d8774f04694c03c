/** A figure of several rounds. On a machine that others use, the span says more than the median. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** As they came. */
  readonly rounds: readonly number[];
}

export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error('There is nothing to take the median of.');
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: percentile(sorted, 0.5),
    min: sorted[0] as number,
    max: sorted.at(-1) as number,
    rounds: values,
  };
}

/**
 * Round by round, and then the median. What disturbs a round disturbs all contenders of it, so the
 * ratio holds where the figures themselves do not.
 */
export function ratioOf(values: readonly number[], base: readonly number[]): Spread {
  return combine(values, base, (value, other) => value / other);
}

export function combine(
  values: readonly number[],
  others: readonly number[],
  operation: (value: number, other: number) => number,
): Spread {
  return spreadOf(values.map((value, round) => operation(value, others[round] as number)));
}

/** @param sorted in ascending order */
export function percentile(sorted: readonly number[], share: number): number {
  const position = (sorted.length - 1) * share;
  const [below, above] = [Math.floor(position), Math.ceil(position)];
  const [low, high] = [sorted[below] as number, sorted[above] as number];
  return low + (high - low) * (position - below);
}
