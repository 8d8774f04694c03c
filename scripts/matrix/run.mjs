import { spawn } from 'node:child_process';

/** So long one process may take, in ms; several run at once, on a machine that may be busy. */
const PATIENCE_MS = 300_000;

/**
 * Runs a process to its end, or ends it when it takes too long.
 *
 * @returns whether it ended well, and what it wrote to both streams
 */
export function run(command, args, { cwd, env = {} } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    const impatience = setTimeout(() => {
      output += `\nIt took longer than ${PATIENCE_MS / 1000} s.`;
      child.kill('SIGKILL');
    }, PATIENCE_MS);
    const end = (isWell) => {
      clearTimeout(impatience);
      resolve({ isWell, output: output.trim() });
    };
    child.once('error', (error) => {
      output += String(error);
      end(false);
    });
    child.once('close', (code) => end(code === 0));
  });
}

/** @throws with what the process wrote */
export async function mustRun(command, args, options) {
  const { isWell, output } = await run(command, args, options);
  if (!isWell) throw new Error(`${command} ${args.join(' ')} failed:\n${output}`);
  return output;
}

/** Calls `work` for each item, a few at once, and answers the results in the order of the items. */
export async function each(items, atOnce, work) {
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}
