import { setTimeout as pause } from 'node:timers/promises';
import { makeKeys } from '../keys.js';
import type { Child } from '../processes/rpc.js';
import { startService } from '../redis-fill.js';
import type { Report, Row } from '../report.js';
import { Resources } from '../resources.js';
import type { Settings } from '../settings.js';
import { percentile } from '../stats.js';

/**
 * How long a token goes on working in one process after another one has revoked it: from the
 * confirmation until the first refusal. Below 0: it was refused before.
 */
export async function invalidation(settings: Settings, report: Report): Promise<void> {
  await Resources.use(async (resources) => {
    const keys = makeKeys('HS256');
    const redis = await resources.redis();
    const writer = await startService(resources.child('service'), keys, { redis: redis.url });
    const rows: Row[] = [];
    for (const near of [false, true]) {
      const store = { redis: redis.url, near };
      const reader = await startService(resources.child('service'), keys, store);
      rows.push({
        name: near ? 'near' : 'redis',
        title: near ? 'Redis' : 'Redis without client-side caching',
        values: await lags(writer, reader, Math.round(settings.slice / 10)),
      });
      await reader.stop();
    }
    report.table({ group: 'invalidation', title: 'revoked in one process, used in another', rows });
  });
}

async function lags(writer: Child, reader: Child, count: number) {
  const tokens = await writer.call<string[]>('issue', count);
  const found: number[] = [];
  for (const token of tokens) {
    await reader.call('verify', { tokens: [token], times: 5, parallel: 1 });
    const refused = reader.call<bigint>('untilRefused', token);
    await pause(2);
    const revoked = await writer.call<bigint>('revoke', token);
    found.push(Number((await refused) - revoked) / 1e6);
  }
  found.sort((a, b) => a - b);
  return {
    'ms, median': percentile(found, 0.5),
    p99: percentile(found, 0.99),
    max: percentile(found, 1),
  };
}
