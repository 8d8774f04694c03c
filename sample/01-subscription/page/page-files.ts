import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import ms, { type StringValue } from 'ms';
import { gracePeriod } from '../settings.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const DEFAULT_GRACE = '30s';

/** What the page consists of, read and bundled once. */
export class PageFiles {
  private constructor(
    readonly document: string,
    readonly style: string,
    readonly script: string,
  ) {}

  static async load(): Promise<PageFiles> {
    const [document, style, script] = await Promise.all([
      readFile(join(HERE, 'page.html'), 'utf8'),
      readFile(join(HERE, 'page.css'), 'utf8'),
      bundle(),
    ]);
    return new PageFiles(document.replace('{{grace}}', String(graceInMs())), style, script);
  }
}

/** One script of the page's parts and the client. An application's own bundler would do the same. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(HERE, 'browser/main.ts')],
    bundle: true,
    format: 'esm',
    target: 'es2023',
    write: false,
    // As this process was started: the source of the library, or what was built of it.
    conditions: process.execArgv.flatMap((flag) => /^--conditions=(.+)$/.exec(flag)?.[1] ?? []),
  });
  return outputFiles[0]?.text ?? '';
}

/** The page shows how long a replaced token still leads on. */
function graceInMs(): number {
  const grace = gracePeriod() ?? DEFAULT_GRACE;
  return typeof grace === 'number' ? grace * 1_000 : ms(grace as StringValue);
}
