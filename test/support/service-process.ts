import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type Question, requestJson } from './json-request.js';

const READY_WITHIN_MS = 60_000;
const STOPPED_WITHIN_MS = 20_000;
/** For scripts that are not compiled yet. */
const COMPILING = [
  '--conditions=nestjs-jwt-state/source',
  ...['--import', '@swc-node/register/esm-register'],
];

/** A script of the samples as a process of its own. It does not outlive the one that started it. */
export class ServiceProcess {
  /** All it has written. */
  output = '';

  private constructor(private readonly child: ChildProcess) {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
  }

  /** @param ready waited for in what it writes */
  static async start(
    script: string,
    ready: RegExp,
    env: Record<string, string>,
  ): Promise<ServiceProcess> {
    const started = ServiceProcess.run(script, [], env);
    await until(
      `${script} is ready`,
      async () => {
        if (started.hasEnded) throw new Error(`${script} has ended:\n${started.output}`);
        return ready.test(started.output);
      },
      READY_WITHIN_MS,
    );
    return started;
  }

  /** Runs it to its end. @returns what it has written */
  static async finish(script: string, args: string[], env: Record<string, string>) {
    const started = ServiceProcess.run(script, args, env);
    await once(started.child, 'close');
    if (started.child.exitCode === 0) return started.output;
    throw new Error(`${script} failed:\n${started.output}`);
  }

  private static run(script: string, args: string[], env: Record<string, string>) {
    const options = script.endsWith('.ts') ? COMPILING : [];
    const child = spawn(process.execPath, [...options, script, ...args], {
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    watch(child);
    return new ServiceProcess(child);
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Where it listens, as it says itself. */
  get url(): string {
    return /listens on (http:\S+)/.exec(this.output)?.[1] ?? '';
  }

  async stop(): Promise<void> {
    if (this.hasEnded) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    const impatience = setTimeout(() => this.child.kill('SIGKILL'), STOPPED_WITHIN_MS);
    await ended;
    clearTimeout(impatience);
  }
}

/** Jest's workers may be killed: then a shell finds its pipe closed, and ends the process. */
function watch(child: ChildProcess): void {
  const script = 'trap "" HUP INT TERM; read -r word; [ "$word" = done ] || kill "$1"';
  const watchdog = spawn('/bin/sh', ['-c', script, 'sh', String(child.pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watchdog.stdin?.on('error', () => {});
  watchdog.unref();
  child.once('exit', () => watchdog.stdin?.end('done\n'));
}

/** Asks again and again, since nobody knows how long a busy machine takes. */
export async function until(
  what: string,
  isSo: () => Promise<boolean>,
  patience = READY_WITHIN_MS,
): Promise<void> {
  const deadline = Date.now() + patience;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`Not in time: ${what}.`);
    await pause(50);
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

/** On a connection of its own, so that no idle one is closed under it by a server that ends. */
export const ask = (method: 'GET' | 'POST', url: string, question: Question = {}) =>
  requestJson(method, url, question, false);
