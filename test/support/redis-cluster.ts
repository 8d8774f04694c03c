import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, RedisServer } from './redis-server.js';
import { until } from './until.js';

const run = promisify(execFile);
/** The servers of a cluster talk to each other at a port that much higher. */
const BUS_OFFSET = 10_000;

/** A cluster of masters. They keep their places over a restart, and nothing else. */
export class RedisCluster {
  private constructor(
    readonly servers: readonly RedisServer[],
    private readonly directory: string,
  ) {}

  static async start(masters = 3): Promise<RedisCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-cluster-'));
    const servers: RedisServer[] = [];
    const cluster = new RedisCluster(servers, directory);
    try {
      while (servers.length < masters) {
        const port = await freePort();
        if (port + BUS_OFFSET > 65_535) continue;
        const file = join(directory, `nodes-${port}.conf`);
        const args = [
          ...['--cluster-enabled', 'yes', '--cluster-config-file', file],
          ...['--cluster-node-timeout', '1000'],
        ];
        servers.push(await RedisServer.start({ port, args }));
      }
      const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
      await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes']);
      await cluster.untilWhole();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get rootNodes() {
    return this.servers.map(({ url }) => ({ url }));
  }

  /** Waits until every server knows of all the others. */
  async untilWhole(): Promise<void> {
    await until(async () => {
      const states = await Promise.all(
        this.servers.map(({ port }) => redisCli(port, 'CLUSTER', 'INFO')),
      );
      return states.every((state) => state.includes('cluster_state:ok'));
    }, 20_000);
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The answer of one server to one command, as text. */
export async function redisCli(port: number, ...command: string[]): Promise<string> {
  const { stdout } = await run('redis-cli', ['-p', String(port), ...command]);
  return stdout;
}
