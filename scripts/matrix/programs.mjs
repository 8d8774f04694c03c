import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import ts from 'typescript';

const SOURCES = 'test/matrix';

/** Every program that is to run in each application. One that ends well prints `ok` as its last line. */
export function findPrograms() {
  return readdirSync(SOURCES, { recursive: true })
    .map((name) => join(SOURCES, String(name)))
    .filter((path) => /\.(ts|mjs)$/.test(path))
    .sort();
}

/**
 * Puts a program into an application, compiled for one kind of modules.
 *
 * @returns the path there; `undefined`: it is JavaScript, and written for the other kind
 */
export function place(program, folder, module) {
  const name = basename(program, extname(program));
  const target = join(folder, module);
  mkdirSync(target, { recursive: true });
  if (program.endsWith('.mjs')) {
    if (module === 'cjs') return undefined;
    const path = join(target, basename(program));
    cpSync(program, path);
    return path;
  }
  const path = join(target, `${name}.${module === 'esm' ? 'mjs' : 'cjs'}`);
  writeFileSync(path, compile(program, module));
  return path;
}

function compile(program, module) {
  const { outputText } = ts.transpileModule(readFileSync(program, 'utf8'), {
    fileName: program,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: module === 'esm' ? ts.ModuleKind.ESNext : ts.ModuleKind.CommonJS,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
    },
  });
  return outputText;
}
