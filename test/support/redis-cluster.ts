import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { slotOf } from '../../lib/redis/key-slot.js';
import { freePort, RedisServer } from './redis-server.js';
import { until } from './until.js';

const run = promisify(execFile);
/** The servers of a cluster talk to each other at a port that much higher. */
const BUS_OFFSET = 10_000;

/** A cluster of masters, and replicas after them. They keep their places over a restart, and nothing else. */
export class RedisCluster {
  private constructor(
    readonly servers: readonly RedisServer[],
    private readonly directory: string,
  ) {}

  /**
   * @param settings.replicas of each master
   * @param settings.args more of them for each server
   */
  static async start({
    masters = 3,
    replicas = 0,
    args: more = [],
  }: {
    masters?: number;
    replicas?: number;
    args?: readonly string[];
  } = {}): Promise<RedisCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-cluster-'));
    const servers: RedisServer[] = [];
    const cluster = new RedisCluster(servers, directory);
    try {
      while (servers.length < masters * (1 + replicas)) {
        const port = await freePort();
        if (port + BUS_OFFSET > 65_535) continue;
        const file = join(directory, `nodes-${port}.conf`);
        const args = [
          ...['--cluster-enabled', 'yes', '--cluster-config-file', file],
          ...['--cluster-node-timeout', '1000', '--repl-diskless-sync-delay', '0'],
          ...more,
        ];
        servers.push(await RedisServer.start({ port, args }));
      }
      const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
      const copies = ['--cluster-replicas', String(replicas)];
      await run('redis-cli', ['--cluster', 'create', ...addresses, ...copies, '--cluster-yes']);
      await cluster.untilWhole();
      await until(() => cluster.hasReplicas(masters * replicas), 20_000);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get rootNodes() {
    return this.servers.map(({ url }) => ({ url }));
  }

  /** The server that answers for a key now. */
  async masterOf(key: string): Promise<RedisServer> {
    const [server] = await this.mastersOf([key]);
    return server as RedisServer;
  }

  async mastersOf(keys: readonly string[]): Promise<RedisServer[]> {
    const nodes = (await this.ask('CLUSTER', 'NODES')).split('\n').map((line) => line.split(' '));
    return keys.map((key) => {
      const holder = nodes.find(([, , flags = '', , , , , , ...ranges]) => {
        const isMaster = flags.includes('master') && !flags.includes('fail');
        return isMaster && ranges.some((range) => isWithin(slotOf(key), range));
      });
      const port = Number(/:(\d+)@/.exec(holder?.[1] ?? '')?.[1]);
      const server = this.servers.find((candidate) => candidate.port === port);
      if (!server) throw new Error(`Nobody answers for ${key}.`);
      return server;
    });
  }

  private async hasReplicas(count: number): Promise<boolean> {
    const roles = await Promise.all(
      this.servers.map(({ port }) => redisCli(port, 'INFO', 'replication')),
    );
    return roles.filter((role) => role.includes('master_link_status:up')).length === count;
  }

  /** The answer of one server that runs. */
  private async ask(...command: string[]): Promise<string> {
    for (const { port, running } of this.servers) {
      if (!running) continue;
      const answer = await redisCli(port, ...command).catch(() => undefined);
      if (answer !== undefined) return answer;
    }
    throw new Error('No server of the cluster answers.');
  }

  /** Waits until every server knows of all the others, and replicas have what their masters have. */
  async untilWhole(): Promise<void> {
    const running = this.servers.filter((server) => server.running);
    await until(async () => {
      const states = await Promise.all(
        running.map(async ({ port }) => {
          const links = await redisCli(port, 'INFO', 'replication');
          return (await redisCli(port, 'CLUSTER', 'INFO')) + links;
        }),
      );
      return states.every(
        (state) => state.includes('cluster_state:ok') && !state.includes('master_link_status:down'),
      );
    }, 20_000);
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** @param range such as `0-5460`, or one slot */
function isWithin(slot: number, range: string): boolean {
  const [first, last = first] = range.split('-').map(Number);
  return first !== undefined && slot >= first && slot <= (last ?? first);
}

/** The answer of one server to one command, as text. */
export async function redisCli(port: number, ...command: string[]): Promise<string> {
  const { stdout } = await run('redis-cli', ['-p', String(port), ...command], { timeout: 2_000 });
  return stdout;
}
