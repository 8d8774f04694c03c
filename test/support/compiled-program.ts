import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { transformFile } from '@swc/core';

/** Beside the packages that the code imports; ignored by version control. */
const PARENT = 'build';

/**
 * The library and some scripts of the tests in JavaScript. Processes that compile as they start take seconds
 * on a busy machine, each of them anew.
 */
export class CompiledProgram {
  private constructor(private readonly directory: string) {}

  /** @param scripts such as `test/support/loaded-service.ts`, with all that they import beside the library */
  static async of(...scripts: string[]): Promise<CompiledProgram> {
    mkdirSync(PARENT, { recursive: true });
    const program = new CompiledProgram(mkdtempSync(join(PARENT, 'program-')));
    const library = readdirSync('lib', { recursive: true })
      .map((name) => join('lib', String(name)))
      .filter((name) => name.endsWith('.ts'));
    for (const source of [...library, ...scripts]) {
      const { code } = await transformFile(source);
      const target = program.pathOf(source);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, code);
    }
    return program;
  }

  pathOf(source: string): string {
    return join(this.directory, source.replace(/\.ts$/, '.js'));
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
