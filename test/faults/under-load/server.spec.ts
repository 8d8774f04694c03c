import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createClient } from '@redis/client';
import { Load, LoadedService, report } from '../../support/load.js';
import { RedisServer } from '../../support/redis-server.js';
import { until } from '../../support/until.js';

/** Much longer than it takes, for machines that do other things as well. */
const RECOVERED_WITHIN_MS = 15_000;

/*
 * Clients log in, look, change and revoke without a pause, at two services with a near copy and one
 * without, and the store fails under them. The watch (test/support/watch.ts) knows what may be answered.
 */
type Admin = ReturnType<typeof createClient>;

const usedBy = async (client: Admin) =>
  Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1]);
const takes = (client: Admin, key: string) =>
  client.set(key, 'x'.repeat(1_000)).then(
    () => true,
    () => false,
  );

describe('under load, a server that', () => {
  let directory: string;
  let redis: RedisServer;
  let services: LoadedService[] = [];

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-load-'));
    const keeping = ['--dir', directory, '--appendonly', 'yes', '--appendfsync', 'always'];
    redis = await RedisServer.start({ args: keeping });
    const { url } = redis;
    services = await LoadedService.start({
      one: { url },
      two: { url },
      direct: { url, nearCopy: false },
    });
  }, 60_000);
  afterAll(async () => {
    await Promise.all(services.map((service) => service.stop()));
    await redis?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  afterEach(async () => {
    await Load.stopAll();
    // What a test that has failed may have left.
    if (!redis.running) await redis.restart();
    redis.resume();
    await admin(async (client) => {
      await client.configSet('maxmemory', '0');
      await client.configSet('maxmemory-policy', 'noeviction');
    });
  }, 20_000);

  const forget = () => {
    for (const name of readdirSync(directory)) {
      rmSync(join(directory, name), { recursive: true, force: true });
    }
  };
  const admin = async <T>(use: (client: Admin) => Promise<T>) => {
    const client = createClient({ url: redis.url });
    client.on('error', () => {});
    await client.connect();
    return use(client as Admin).finally(() => client.destroy());
  };

  /** The fault, and what clients saw until all was well again. */
  async function endured(name: string, fault: (load: Load) => Promise<unknown>) {
    const load = await Load.on(services);
    await fault(load);
    const recovery = await load.calm(RECOVERED_WITHIN_MS);
    const seen = await load.end();
    report(name, seen, recovery);
    expect(seen.violations).toEqual([]);
    return seen;
  }

  const logged = (line: string) => services.filter(({ process }) => process.output.includes(line));

  it('is killed and keeps what it has confirmed: no token is lost, none comes back', async () => {
    const { counts } = await endured('kill -9, entries kept', async () => {
      await redis.kill();
      await sleep(1_000);
      await redis.restart();
    });
    expect(counts['look good DENY_LIST_LOST']).toBeUndefined();
    expect(counts['look revoked TOKEN_REVOKED']).toBeGreaterThan(0);
  }, 60_000);

  it('is killed and comes back empty: everybody logs in again', async () => {
    const { counts } = await endured('kill -9, empty', async (load) => {
      await redis.kill();
      forget();
      await sleep(1_000);
      await load.losing(() => redis.restart());
    });
    expect(counts['look good DENY_LIST_LOST']).toBeGreaterThan(0);
  }, 60_000);

  it.each([
    ['hangs for a while', 2_500],
    ['hangs for so long that its connections are given up', 7_000],
  ])(
    '%s: every answer comes in time, and all goes on after it',
    async (name, time) => {
      const { counts } = await endured(name, async () => {
        redis.suspend();
        await sleep(time).finally(() => redis.resume());
      });
      expect(counts['look good DENY_LIST_UNAVAILABLE']).toBeGreaterThan(0);
    },
    60_000,
  );

  it('is flushed again and again: no revoked token slips through between', async () => {
    const { counts } = await endured('FLUSHALL', async (load) => {
      await load.losing(async () => {
        for (let n = 0; n < 8; n++) {
          await redis.flush();
          await sleep(150);
        }
      });
    });
    expect(counts['look good DENY_LIST_LOST']).toBeGreaterThan(0);
  }, 60_000);

  it('cuts its connections again and again: nobody is logged out', async () => {
    await endured('CLIENT KILL', () =>
      admin(async (client) => {
        for (let n = 0; n < 20; n++) {
          for (const type of ['normal', 'pubsub']) {
            await client.sendCommand(['CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes']);
          }
          await sleep(Math.random() * 200);
        }
      }),
    );
  }, 60_000);

  it('is out of memory: what it did not take is not confirmed, and requests run', async () => {
    await endured('full memory', (load) =>
      admin(async (client) => {
        await client.configSet('maxmemory', String((await usedBy(client)) + 400_000));
        for (let n = 0; await takes(client, `filler:${n}`); n++);
        // What is still too small to be noticed does not fit either.
        await client.configSet('maxmemory', String((await usedBy(client)) - 100_000));
        await sleep(200);
        const full = await load.during(() => sleep(2_500));
        await client.configSet('maxmemory', '0');
        expect(full['revoke good ok']).toBeUndefined();
        expect(full['revoke good DENY_LIST_UNAVAILABLE']).toBeGreaterThan(0);
        // Only of a token that is stale, and whose successor cannot be written.
        const { 'look good ok': ran = 0, 'look good DENY_LIST_UNAVAILABLE': stale = 0 } = full;
        expect(ran).toBeGreaterThan(4 * stale);
        expect(full['look revoked TOKEN_REVOKED']).toBeGreaterThan(0);
      }),
    );
  }, 60_000);

  it('is told to evict while it runs: said at the next connection, and survived', async () => {
    const load = await Load.on(services);
    await admin(async (client) => {
      await client.configSet('maxmemory-policy', 'allkeys-random');
      await client.configSet('maxmemory', String(await usedBy(client)));
      await load.forgetting(async () => {
        await sleep(1_500);
        expect(logged('Redis drops entries')).toEqual([]);
        await client.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']);
        await until(() => logged('Redis drops entries').length === services.length, 15_000);
        await client.configSet('maxmemory', '0');
        await client.configSet('maxmemory-policy', 'noeviction');
      });
    });
    const recovery = await load.calm(RECOVERED_WITHIN_MS);
    const seen = await load.end();
    report('eviction', seen, recovery);
    expect(seen.violations).toEqual([]);
  }, 60_000);
});
