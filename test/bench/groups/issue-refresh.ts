import { type Algorithm, makeKeys } from '../keys.js';
import type { Child } from '../processes/rpc.js';
import { startService } from '../redis-fill.js';
import type { Report } from '../report.js';
import { Resources } from '../resources.js';
import { interleave } from '../rounds.js';
import type { Settings } from '../settings.js';
import { spreadOf } from '../stats.js';

/** What a log-in and a refresh take, without HTTP. A signature is the larger part of them. */
export async function issueRefresh(settings: Settings, report: Report): Promise<void> {
  for (const algorithm of settings.algorithms) {
    await Resources.use((resources) => runAlgorithm(resources, algorithm, settings, report));
  }
}

async function runAlgorithm(
  resources: Resources,
  algorithm: Algorithm,
  settings: Settings,
  report: Report,
): Promise<void> {
  const keys = makeKeys(algorithm);
  const { url: redis } = await resources.redis();
  const stores = [
    { title: 'in memory', store: {} },
    { title: 'Redis without client-side caching', store: { redis } },
    { title: 'Redis', store: { redis, near: true } },
  ];
  const runs = new Map<string, { service: Child; verb: string }>();
  for (const { title, store } of stores) {
    const service = await startService(resources.child('service'), keys, store);
    const rotating = { ...store, refreshTokens: true };
    const withRefreshTokens = await startService(resources.child('service'), keys, rotating);
    if (runs.size === 0) runs.set('the signature alone', { service, verb: 'sign' });
    runs.set(`issue(), ${title}`, { service, verb: 'issue' });
    runs.set(`refresh(access token), ${title}`, { service, verb: 'refresh' });
    runs.set(`refresh(refresh token), ${title}`, { service: withRefreshTokens, verb: 'exchange' });
  }
  const count = Math.max(10, Math.round(settings.slice / 5));
  const samples = await interleave([...runs.keys()], settings.rounds + 1, (name) => {
    const { service, verb } = runs.get(name) as { service: Child; verb: string };
    return service.call<number>('time', { verb, count });
  });
  const rows = [...samples].map(([name, [_warmUp, ...values]]) => ({
    name,
    title: name,
    values: { µs: spreadOf(values) },
  }));
  report.table({ group: 'issue-refresh', title: `${algorithm}, one by one`, rows });
}
