import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisCli } from './redis-cluster.js';
import { RedisServer } from './redis-server.js';
import { until } from './until.js';

/** A master with one replica, and a Sentinel that watches them. */
export class RedisSentinel {
  static readonly NAME = 'tokens';

  private constructor(
    readonly master: RedisServer,
    readonly replica: RedisServer,
    readonly sentinel: RedisServer,
    private readonly directory: string,
  ) {}

  /** @param downAfter without an answer the master counts as lost, in ms */
  static async start(downAfter = 500): Promise<RedisSentinel> {
    const master = await RedisServer.start({ args: ['--repl-diskless-sync-delay', '0'] });
    const replica = await RedisServer.start({
      args: ['--replicaof', '127.0.0.1', String(master.port)],
    });
    const directory = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-sentinel-'));
    const config = join(directory, 'sentinel.conf');
    const name = RedisSentinel.NAME;
    writeFileSync(
      config,
      [
        `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
        `sentinel down-after-milliseconds ${name} ${downAfter}`,
        `sentinel failover-timeout ${name} 5000`,
        '',
      ].join('\n'),
    );
    const sentinel = await RedisServer.start({ config, args: ['--sentinel'] });
    const made = new RedisSentinel(master, replica, sentinel, directory);
    await until(async () => {
      const synced = await redisCli(replica.port, 'INFO', 'replication');
      const known = await redisCli(sentinel.port, 'SENTINEL', 'REPLICAS', name);
      return synced.includes('master_link_status:up') && known.includes(String(replica.port));
    }, 20_000);
    return made;
  }

  async stop(): Promise<void> {
    await Promise.all([this.sentinel.stop(), this.replica.stop(), this.master.stop()]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
