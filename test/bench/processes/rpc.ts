import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

const STOPPED_WITHIN_MS = 5_000;

interface Call {
  id: number;
  name: string;
  argument: unknown;
}

type Reply = { id: number; value: unknown } | { id: number; error: string };

type Handlers = Record<string, (argument: never) => unknown>;

/**
 * A process of this suite. What is measured runs alone in one, so that neither the client nor another
 * contender is on its event loop or in its heap, and its CPU time is its own.
 */
export class Child {
  private readonly waiting = new Map<number, (reply: Reply) => void>();
  private lastId = 0;

  private constructor(
    private readonly child: ChildProcess,
    private readonly script: string,
  ) {
    child.on('message', (reply: Reply) => this.waiting.get(reply.id)?.(reply));
    child.once('exit', (code, signal) => {
      for (const [id, settle] of this.waiting) {
        settle({ id, error: `the process has ended (${signal ?? code})` });
      }
    });
  }

  static start(script: 'server' | 'service' | 'load', flags: readonly string[] = []): Child {
    // Compiled, as a rule; as it is, where a test has a loader in the flags of this process.
    const file = fileURLToPath(
      new URL(`./${script}${extname(import.meta.filename)}`, import.meta.url),
    );
    const child = fork(file, [], {
      serialization: 'advanced',
      execArgv: [...process.execArgv, ...flags],
      env: { ...process.env, NODE_ENV: 'production', NO_COLOR: '1' },
    });
    return new Child(child, script);
  }

  async call<T>(name: string, argument?: unknown): Promise<T> {
    if (this.child.exitCode !== null) throw new Error(`${this.script} has ended.`);
    const id = ++this.lastId;
    const reply = await new Promise<Reply>((resolve) => {
      this.waiting.set(id, resolve);
      this.child.send({ id, name, argument } satisfies Call);
    });
    this.waiting.delete(id);
    if ('error' in reply) throw new Error(`${this.script}, ${name}: ${reply.error}`);
    return reply.value as T;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    const impatience = setTimeout(() => this.child.kill('SIGKILL'), STOPPED_WITHIN_MS);
    await ended;
    clearTimeout(impatience);
  }
}

/** The other end. A process whose parent has gone, however it went, goes too. */
export function answerCalls(handlers: Handlers): void {
  process.once('disconnect', () => process.exit());
  process.on('message', ({ id, name, argument }: Call) => {
    const call = async () => handlers[name]?.(argument as never);
    call().then(
      (value) => process.send?.({ id, value } satisfies Reply),
      (error) => process.send?.({ id, error: String(error?.stack ?? error) } satisfies Reply),
    );
  });
}
