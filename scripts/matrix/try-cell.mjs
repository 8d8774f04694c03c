import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { findPrograms, place } from './programs.mjs';
import { run } from './run.mjs';
import { versionIn } from './workshop.mjs';

/** Runs every program in an application. @returns the row of the table */
export async function runCell(workshop, { application, node, module }, redisUrl) {
  const folder = await workshop.application(application);
  const binary = await workshop.node(node);
  const failures = [];
  for (const program of findPrograms()) {
    const path = place(program, folder, module);
    if (path === undefined) continue;
    const { isWell, output } = await run(binary, [path], {
      cwd: folder,
      env: { REDIS_URL: redisUrl },
    });
    if (!isWell || output.split('\n').at(-1) !== 'ok') failures.push({ program, output });
  }
  const { output: nodeVersion } = await run(binary, ['--version']);
  return {
    columns: [
      versionIn(folder, '@nestjs/core'),
      nodeVersion.slice(1),
      module,
      versionIn(folder, '@redis/client'),
    ],
    failures,
  };
}

const SMOKE = 'test/matrix/programs/smoke.ts';

/** Type-checks the smoke test, declarations of the package included. @returns the row of the table */
export async function typeCell(workshop, { application, typescript, type, options }) {
  const folder = await workshop.application(application);
  const compiler = await workshop.typescript(typescript);
  const { module, moduleResolution } = options;
  const target = join(folder, `types-${typescript}-${type}-${module}-${moduleResolution}`);
  mkdirSync(target, { recursive: true });
  cpSync(SMOKE, join(target, basename(SMOKE)));
  writeFileSync(join(target, 'package.json'), JSON.stringify({ type }));
  writeFileSync(join(target, 'tsconfig.json'), JSON.stringify(tsconfig(options)));
  const { isWell, output } = await run(process.execPath, [compiler, '-p', target]);
  return {
    columns: [
      versionIn(folder, '@nestjs/core'),
      versionIn(join(compiler, '../../../..'), 'typescript'),
      type === 'module' ? 'esm' : 'cjs',
      `${module}, ${moduleResolution}`,
    ],
    failures: isWell ? [] : [{ program: SMOKE, output }],
  };
}

/** As `nest new` writes it, and strict. */
function tsconfig(options) {
  return {
    compilerOptions: {
      target: 'es2022',
      lib: ['es2022'],
      types: ['node'],
      strict: true,
      esModuleInterop: true,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      skipLibCheck: true,
      noEmit: true,
      ...options,
    },
    files: [basename(SMOKE)],
  };
}
