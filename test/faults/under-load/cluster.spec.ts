import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Load, LoadedService, report } from '../../support/load.js';
import { RedisCluster } from '../../support/redis-cluster.js';
import { Replication } from '../../support/replication.js';
import { until } from '../../support/until.js';

const RECOVERED_WITHIN_MS = 25_000;
/** Where the epoch lies. */
const WITNESS = 'jst:witness';

describe('under load, a cluster with replicas', () => {
  let cluster: RedisCluster;
  let services: LoadedService[] = [];

  beforeAll(async () => {
    cluster = await RedisCluster.start({ replicas: 1 });
    const { rootNodes } = cluster;
    const options = { cluster: { rootNodes } };
    services = await LoadedService.start({ one: options, two: options });
  }, 90_000);
  afterAll(async () => {
    await Promise.all(services.map((service) => service.stop()));
    await cluster?.stop();
  });
  afterEach(() => Load.stopAll());

  /** One master is lost, and its replica takes over with all that the clients were told is there. */
  async function losing(name: string, fault: 'kill' | 'suspend') {
    await cluster.untilWhole();
    const lost = await cluster.masterOf(WITNESS);
    const replication = await Replication.of([cluster.servers]);
    const load = await Load.on(services, replication.assure);
    await lost[fault]();
    await until(async () => {
      const now = await cluster.masterOf(WITNESS).catch(() => lost);
      return now !== lost;
    }, 20_000);
    replication.end();
    const recovery = await load.calm(RECOVERED_WITHIN_MS);
    const seen = await load.end();
    report(name, seen, recovery);
    expect(seen.violations).toEqual([]);
    return lost;
  }

  it('of which one master hangs: it is given up, and nobody is logged out', async () => {
    const lost = await losing('Cluster: one master hangs', 'suspend');
    lost.resume();
  }, 90_000);

  it('of which one master is killed: its replica takes over, and nobody is logged out', async () => {
    await losing('Cluster: kill -9 of one master', 'kill');
  }, 90_000);
});

describe('under load, a cluster without replicas', () => {
  let cluster: RedisCluster;
  let services: LoadedService[] = [];

  beforeAll(async () => {
    cluster = await RedisCluster.start();
    const { rootNodes } = cluster;
    services = await LoadedService.start({ one: { cluster: { rootNodes } } });
  }, 90_000);
  afterAll(async () => {
    await Promise.all(services.map((service) => service.stop()));
    await cluster?.stop();
  });
  afterEach(() => Load.stopAll());

  it('of which one master comes back empty: everybody logs in again', async () => {
    const load = await Load.on(services);
    const [witness] = await cluster.mastersOf([WITNESS]);
    const other = cluster.servers.find((server) => server !== witness);
    await load.forgetting(async () => {
      await other?.kill();
      await sleep(500);
      await other?.restart();
      await cluster.untilWhole();
      // The sentries have told: what lay on that server counts again from here on.
      await until(() => (load.watch.counts['look good DENY_LIST_LOST'] ?? 0) > 0, 20_000);
    });
    const recovery = await load.calm(RECOVERED_WITHIN_MS);
    const seen = await load.end();
    report('Cluster: one master comes back empty', seen, recovery);
    expect(seen.violations).toEqual([]);
  }, 90_000);
});
