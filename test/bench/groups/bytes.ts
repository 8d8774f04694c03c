import { makeKeys } from '../keys.js';
import { fillDenyList, startService, usedMemory } from '../redis-fill.js';
import { goalOf, type Report } from '../report.js';
import { Resources } from '../resources.js';
import type { Settings } from '../settings.js';
import { spreadOf } from '../stats.js';

const LIMIT = 115;

/** What a revoked session takes. Counted, not timed: once is enough. */
export async function bytes(settings: Settings, report: Report): Promise<void> {
  const count = Math.max(...settings.entries);
  const inRedis = await Resources.use((resources) => bytesInRedis(resources, count));
  const inMemory = await Resources.use((resources) => bytesInMemory(resources, count));
  const column = 'bytes/entry';
  report.table({
    group: 'bytes',
    title: `${count.toLocaleString('en-US')} revoked sessions`,
    rows: [
      { name: 'redis', title: 'Redis (used_memory)', values: { [column]: inRedis } },
      { name: 'memory', title: 'in memory (heapUsed)', values: { [column]: inMemory } },
    ],
  });
  report.goal(goalOf('bytes in Redis', 'bytes', spreadOf([inRedis]), '<=', LIMIT));
}

async function bytesInRedis(resources: Resources, count: number): Promise<number> {
  const redis = await resources.redis();
  const store = { redis: redis.url };
  const service = await startService(resources.child('service'), makeKeys('HS256'), store);
  await service.call('issue', 1);
  const before = await usedMemory(redis);
  await fillDenyList(redis, service, count);
  return ((await usedMemory(redis)) - before) / count;
}

async function bytesInMemory(resources: Resources, count: number): Promise<number> {
  const service = await startService(
    resources.child('service', ['--expose-gc']),
    makeKeys('HS256'),
  );
  await service.call('revokeSessions', 1_000);
  const before = await service.call<number>('heap');
  await service.call('revokeSessions', count);
  return ((await service.call<number>('heap')) - before) / count;
}
