/*
 * Installs the packed package into small applications and tries it with the versions of Nest, Node, @redis/client and
 * TypeScript that it supports: `npm run test:matrix`. `--quick`: the oldest and the newest of them only.
 * `--tarball=<path>`: one that is packed already. `--nest=12.0.0`: with this version of Nest only, as cells.mjs names it.
 */
import { availableParallelism } from 'node:os';
import { QUICK_RUN_CELLS, QUICK_TYPE_CELLS, RUN_CELLS, TYPE_CELLS } from './cells.mjs';
import { startRedis } from './redis.mjs';
import { each } from './run.mjs';
import { runCell, typeCell } from './try-cell.mjs';
import { Workshop } from './workshop.mjs';

const isQuick = process.argv.includes('--quick');
const tarball = optionNamed('tarball');
const nest = optionNamed('nest');
const atOnce = Math.max(1, Math.min(4, availableParallelism()));
const workshop = new Workshop();
const redis = await startRedis();
let rows = [];
try {
  console.log('Packing, installing and running; what is installed first takes longest.');
  await workshop.pack(tarball);
  rows = [
    ...(await tryAll(
      'Nest, Node, modules, @redis/client',
      chosen(isQuick ? QUICK_RUN_CELLS : RUN_CELLS),
      (cell) => runCell(workshop, cell, redis.url),
    )),
    ...(await tryAll(
      'Nest, TypeScript, modules, settings',
      chosen(isQuick ? QUICK_TYPE_CELLS : TYPE_CELLS),
      (cell) => typeCell(workshop, cell),
    )),
  ];
} finally {
  await redis.stop();
  workshop.remove();
}

const failed = rows.filter(({ failures }) => failures.length > 0);
for (const { columns, failures } of failed) {
  for (const { program, output } of failures) {
    console.log(`\n--- ${columns.join(', ')}: ${program}\n${output}`);
  }
}
console.log(`\n${rows.length - failed.length} passed, ${failed.length} failed`);
process.exitCode = failed.length === 0 && rows.length > 0 ? 0 : 1;

function optionNamed(option) {
  return process.argv.find((word) => word.startsWith(`--${option}=`))?.split('=')[1];
}

function chosen(cells) {
  return cells.filter(({ application }) => nest === undefined || application.nest === nest);
}

/** Tries all cells and prints a line as soon as one is done. */
async function tryAll(title, cells, attempt) {
  console.log(`\n${title}`);
  return each(cells, atOnce, async (cell) => {
    const row = await attempt(cell).catch(({ message }) => broken(cell, message));
    const widths = [8, 9, 4, 24];
    const line = row.columns.map((text, index) => text.padEnd(widths[index])).join('  ');
    console.log(`${line}  ${row.failures.length === 0 ? 'ok' : 'failed'}`);
    return row;
  });
}

function broken({ application, node = 'running', typescript = node, module = '' }, output) {
  const columns = [application.nest, typescript, module, application.redis];
  return { columns, failures: [{ program: 'installation', output }] };
}
