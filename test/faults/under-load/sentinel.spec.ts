import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Load, LoadedService, report } from '../../support/load.js';
import { redisCli } from '../../support/redis-cluster.js';
import { RedisSentinel } from '../../support/redis-sentinel.js';
import type { RedisServer } from '../../support/redis-server.js';
import { Replication } from '../../support/replication.js';
import { until } from '../../support/until.js';

const RECOVERED_WITHIN_MS = 20_000;

/*
 * A revocation that only the dying master has confirmed may be lost (SECURITY.md). So the clients here
 * count it once the replica has it, too, and from then on it must hold.
 */
describe('under load, a master that Sentinel names', () => {
  let group: RedisSentinel;
  let replication: Replication;
  let services: LoadedService[] = [];

  beforeAll(async () => {
    // A machine that does other things as well must not look like a master that is lost.
    group = await RedisSentinel.start(2_000);
    replication = await Replication.of([[group.master, group.replica]]);
    const sentinel = {
      name: RedisSentinel.NAME,
      sentinelRootNodes: [{ host: '127.0.0.1', port: group.sentinel.port }],
    };
    services = await LoadedService.start({ one: { sentinel }, two: { sentinel } });
  }, 60_000);
  afterAll(async () => {
    await Promise.all(services.map((service) => service.stop()));
    replication?.end();
    await group?.stop();
  });
  afterEach(() => Load.stopAll());

  const isMaster = async ({ port }: RedisServer) =>
    (await redisCli(port, 'ROLE').catch(() => '')).startsWith('master');

  it('is cut off from its clients, and its Sentinel too: nobody is logged out', async () => {
    const load = await Load.on(services, replication.assure);
    for (let n = 0; n < 6; n++) {
      for (const { port } of [group.master, group.sentinel]) {
        for (const type of ['normal', 'pubsub']) {
          await redisCli(port, 'CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes');
        }
      }
      await sleep(Math.random() * 300);
    }
    const recovery = await load.calm(RECOVERED_WITHIN_MS);
    const seen = await load.end();
    report('Sentinel: CLIENT KILL', seen, recovery);
    expect(seen.violations).toEqual([]);
  }, 60_000);

  it('is killed: the replica takes its place, with every revocation that it had', async () => {
    const load = await Load.on(services, replication.assure);
    await group.master.kill();
    await until(() => isMaster(group.replica), 20_000);
    replication.end();
    const recovery = await load.calm(RECOVERED_WITHIN_MS);
    const seen = await load.end();
    report('Sentinel: kill -9 of the master', seen, recovery);
    expect(seen.violations).toEqual([]);
    expect(seen.counts['look good DENY_LIST_LOST']).toBeUndefined();
  }, 60_000);
});
