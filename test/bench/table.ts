import type { Goal, Table } from './report.js';
import type { Spread } from './stats.js';

/** A table as text: medians, and the span of all rounds in brackets. */
export function formatTable({ group, title, rows }: Table): string {
  const columns = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  const cells = [
    ['', ...columns],
    ...rows.map((row) => [row.title, ...columns.map((column) => formatFigure(row.values[column]))]),
  ];
  return `\n${group}: ${title}\n${align(cells)}`;
}

export function formatGoals(goals: readonly Goal[]): string {
  const cells = goals.map(({ goal, where, figure, comparison, limit, met }) => [
    met ? 'met' : 'MISSED',
    goal,
    `${comparison} ${limit}`,
    formatFigure(figure),
    where,
  ]);
  return `\nGoals\n${align([['', '', 'goal', 'figure', 'where'], ...cells])}`;
}

function align(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths?.[column] ?? 0)).join('  ');
  return rows.map((row) => `  ${line(row).trimEnd()}`).join('\n');
}

function formatFigure(figure: Spread | number | undefined): string {
  if (figure === undefined) return '';
  if (typeof figure === 'number') return formatNumber(figure);
  const { median, min, max, rounds } = figure;
  if (rounds.length === 1) return formatNumber(median);
  return `${formatNumber(median)} (${formatNumber(min)}–${formatNumber(max)})`;
}

function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1_000) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3);
}
