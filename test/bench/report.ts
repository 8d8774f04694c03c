import type { Spread } from './stats.js';

export interface Row {
  readonly name: string;
  readonly title: string;
  /** By column; a column's name says its unit. */
  readonly values: Readonly<Record<string, Spread | number>>;
}

export interface Table {
  readonly group: string;
  readonly title: string;
  readonly rows: readonly Row[];
}

/** What this project promises itself, and what came out. */
export interface Goal {
  readonly goal: string;
  /** In which table it was looked at. */
  readonly where: string;
  readonly figure: Spread;
  readonly comparison: '>=' | '<=' | '>';
  readonly limit: number;
  readonly met: boolean;
}

export function goalOf(
  goal: string,
  where: string,
  figure: Spread,
  comparison: Goal['comparison'],
  limit: number,
): Goal {
  const { median } = figure;
  const met =
    comparison === '>=' ? median >= limit : comparison === '<=' ? median <= limit : median > limit;
  return { goal, where, figure, comparison, limit, met };
}

/** Where a group puts what it has found. */
export interface Report {
  table(table: Table): void;
  goal(goal: Goal): void;
}
