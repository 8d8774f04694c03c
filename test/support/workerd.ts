import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './service-process.js';

const require = createRequire(import.meta.url);

/** A Cloudflare Worker on this machine: the runtime itself, with one module. */
export class Workerd {
  private constructor(
    readonly url: string,
    private readonly process: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(script: string): Promise<Workerd> {
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), 'workerd-'));
    await writeFile(join(folder, 'worker.js'), script);
    await writeFile(join(folder, 'config.capnp'), configOf(port));
    const { default: binary } = require('workerd') as { default: string };
    const child = spawn(binary, ['serve', 'config.capnp'], { cwd: folder, stdio: 'pipe' });
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk;
    });
    const worker = new Workerd(`http://127.0.0.1:${port}`, child, folder);
    for (let attempt = 0; attempt < 200; attempt++) {
      const isThere = await fetch(worker.url).then(
        () => true,
        () => false,
      );
      if (isThere) return worker;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await worker.stop();
    throw new Error(`workerd does not answer: ${said}`);
  }

  async stop(): Promise<void> {
    this.process.kill('SIGKILL');
    await rm(this.folder, { recursive: true });
  }
}

function configOf(port: number): string {
  return `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2024-01-01",
);
`;
}
