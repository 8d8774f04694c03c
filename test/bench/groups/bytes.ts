import { setTimeout as sleep } from 'node:timers/promises';
import { makeKeys } from '../keys.js';
import type { Leaving } from '../processes/service.js';
import { fillDenyList, startService, usedMemory } from '../redis-fill.js';
import { goalOf, type Report, type Row } from '../report.js';
import { Resources } from '../resources.js';
import type { Settings } from '../settings.js';
import { spreadOf } from '../stats.js';

const LIMIT = 115;
/** So many of each kind: enough for what Redis itself takes to be next to nothing. */
const EACH = 4_000;
/** What is kept for 14 s has ended, and Redis has swept it out. */
const EXPIRED_AFTER_MS = 20_000;

/** How long it stays is what it is multiplied by; see the page on capacity. */
const KINDS: Record<Leaving, { lives: string; refreshTokens: boolean; short?: boolean }> = {
  'revoked session': { lives: 'the longest lifetime', refreshTokens: false },
  'stale mark': { lives: 'the longest lifetime', refreshTokens: false },
  'replaced token': {
    lives: 'the grace period (the successor), what is left of the token (that it was replaced)',
    refreshTokens: false,
  },
  'used refresh token': { lives: 'as long as its successor is not used', refreshTokens: true },
  'used refresh token, its successor used': {
    lives: 'what is left of the refresh token',
    refreshTokens: true,
    short: true,
  },
};

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
  report.table({ group: 'bytes', title: 'each of these, in Redis', rows: await bytesOfKinds() });
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

async function bytesOfKinds(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [what, { lives, refreshTokens, short = false }] of Object.entries(KINDS)) {
    const each = await Resources.use(async (resources) => {
      const redis = await resources.redis();
      const store = { redis: redis.url, refreshTokens, short };
      const service = await startService(resources.child('service'), makeKeys('HS256'), store);
      await service.call('leave', { what, count: 10 });
      const before = await usedMemory(redis);
      await service.call('leave', { what, count: EACH });
      if (short) await sleep(EXPIRED_AFTER_MS);
      return ((await usedMemory(redis)) - before) / EACH;
    });
    rows.push({ name: what, title: `${what}; for ${lives}`, values: { bytes: each } });
  }
  return rows;
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
