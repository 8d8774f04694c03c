import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

const STOPPED_WITHIN_MS = 10_000;

/**
 * One service in a child process. They run as workers of a cluster only because those can hand
 * their port over: what a load balancer does for services on several machines.
 */
export class Service {
  private worker: Worker | undefined;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly name: string,
    private readonly file: string,
    private readonly env: Record<string, string>,
    /** Told when it ends and was not asked to. */
    private readonly onLoss: (name: string) => void,
  ) {}

  async start(): Promise<void> {
    cluster.setupPrimary({ exec: this.file, args: [], silent: true });
    const worker = cluster.fork(this.env);
    print(this.name, worker.process.stdout);
    print(this.name, worker.process.stderr);
    const ended = once(worker, 'exit').then(() => 'ended');
    const outcome = await Promise.race([ended, once(worker, 'listening')]);
    if (outcome === 'ended') throw new Error(`The service ${this.name} did not start.`);
    this.worker = worker;
    worker.once('exit', () => {
      if (this.worker === worker) this.onLoss(this.name);
    });
  }

  /** The new one takes requests before the old one stops to. One restart after the other. */
  restart(): Promise<unknown> {
    this.turn = this.turn.then(async () => {
      const old = this.worker;
      await this.start();
      if (old) await retire(old);
    });
    // A new one that does not start leaves the old one where it is.
    this.turn = this.turn.catch((error) => console.error(`[${this.name}] ${error.message}`));
    return this.turn;
  }

  async stop(): Promise<void> {
    await this.turn;
    const { worker } = this;
    this.worker = undefined;
    if (worker) await end(worker);
  }
}

/** It takes no more requests, answers those it has, and ends. */
async function retire(worker: Worker): Promise<void> {
  const answered = once(worker, 'disconnect');
  worker.disconnect();
  await answered;
  await end(worker);
}

async function end(worker: Worker): Promise<void> {
  if (worker.isDead()) return;
  const ended = once(worker, 'exit');
  worker.process.kill('SIGTERM');
  const impatience = setTimeout(() => worker.process.kill('SIGKILL'), STOPPED_WITHIN_MS);
  await ended;
  clearTimeout(impatience);
}

function print(name: string, output: Readable | null): void {
  if (!output) return;
  createInterface({ input: output }).on('line', (line) => console.log(`[${name}] ${line}`));
}
