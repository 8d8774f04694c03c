import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { bytes } from './groups/bytes.js';
import { http } from './groups/http.js';
import { invalidation } from './groups/invalidation.js';
import { issueRefresh } from './groups/issue-refresh.js';
import { reissue } from './groups/reissue.js';
import { storeSize } from './groups/store-size.js';
import type { Goal, Report, Table } from './report.js';
import { type GroupName, readSettings, type Settings } from './settings.js';
import { formatGoals, formatTable } from './table.js';

const GROUPS: Record<GroupName, (settings: Settings, report: Report) => Promise<void>> = {
  http,
  'store-size': storeSize,
  bytes,
  invalidation,
  reissue,
  'issue-refresh': issueRefresh,
};

const settings = readSettings(process.argv.slice(2));
const tables: Table[] = [];
const goals: Goal[] = [];
const machine = {
  node: process.version,
  os: release(),
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  memory: totalmem(),
  /** Above 0 before anything runs: others use this machine, and the figures are theirs, too. */
  loadBefore: loadavg()[0],
};
const begun = new Date();

console.log(
  `Node ${machine.node}, ${machine.cores} × ${machine.cpu}, load ${machine.loadBefore?.toFixed(2)} ` +
    `before the run. Median (min–max) of ${settings.rounds} rounds.`,
);

for (const name of settings.groups) {
  await GROUPS[name](settings, {
    table(table) {
      tables.push(table);
      console.log(formatTable(table));
    },
    goal: (goal) => goals.push(goal),
  });
  // After each group: what an interrupted run has found is not lost.
  write();
}

console.log(formatGoals(goals));
console.log(`\nWritten to ${settings.out}`);

function write(): void {
  const results = { begun, ended: new Date(), machine, settings, goals, tables };
  writeFileSync(settings.out, `${JSON.stringify(results, null, 2)}\n`);
}
