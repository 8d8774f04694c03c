import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Injectable } from '@nestjs/common';
import { build } from 'esbuild';
import ms, { type StringValue } from 'ms';
import { gracePeriod } from '../settings.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const DEFAULT_GRACE = '30s';

/** What the page consists of. */
@Injectable()
export class PageFiles {
  private bundled: Promise<string> | undefined;

  async document(): Promise<string> {
    const document = await readFile(join(HERE, 'page.html'), 'utf8');
    return document.replace('{{grace}}', String(graceInMs()));
  }

  style(): Promise<string> {
    return readFile(join(HERE, 'page.css'), 'utf8');
  }

  /** Bundled once, when somebody first asks for it. */
  script(): Promise<string> {
    this.bundled ??= bundle();
    return this.bundled;
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
