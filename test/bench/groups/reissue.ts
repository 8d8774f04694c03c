import { contenderNamed } from '../contenders/index.js';
import { type BenchKeys, makeKeys } from '../keys.js';
import type { Child } from '../processes/rpc.js';
import { startService } from '../redis-fill.js';
import { goalOf, type Report, type Row } from '../report.js';
import { Resources } from '../resources.js';
import { RoundTrips } from '../round-trips.js';
import type { Settings } from '../settings.js';
import { combine, spreadOf } from '../stats.js';

const LIMIT = 3;
const WARM_UP = 50;
const PLATFORM = 'express';

interface Visit {
  readonly milliseconds: number;
  readonly trips: number;
}

/** What `@ReissuesToken()` adds to a guarded route: round trips to the store, and time. */
export async function reissue(settings: Settings, report: Report): Promise<void> {
  const rows: Row[] = [];
  for (const name of ['jwt-state', 'jwt-state-redis', 'jwt-state-near']) {
    const { title, needsRedis } = contenderNamed(name);
    await Resources.use(async (resources) => {
      const { guarded, reissuing } = await visits(resources, name, settings);
      const trips = combine(tripsOf(reissuing), tripsOf(guarded), (own, other) => own - other);
      const times = (list: readonly Visit[]) => spreadOf(list.map((visit) => visit.milliseconds));
      rows.push({
        name,
        title,
        values: {
          'guarded, ms': times(guarded).median,
          'reissuing, ms': times(reissuing).median,
          ...(needsRedis && {
            'guarded, round trips': spreadOf(tripsOf(guarded)).median,
            'reissuing, round trips': spreadOf(tripsOf(reissuing)).median,
          }),
        },
      });
      if (needsRedis) {
        const where = `reissue, ${name}`;
        report.goal(goalOf('round trips beyond the guard’s', where, trips, '<=', LIMIT));
      }
    });
  }
  report.table({ group: 'reissue', title: '@ReissuesToken() beside a guarded route', rows });
}

function tripsOf(list: readonly Visit[]): number[] {
  return list.map(({ trips }) => trips);
}

async function visits(resources: Resources, contender: string, settings: Settings) {
  const keys = makeKeys('HS256');
  const { server, trips, service } = await startStore(resources, contender, keys);
  const setup = { platform: PLATFORM, keys, redis: trips?.url, entries: 0, tokens: 1 };
  const started = await server.call<{ port: number; tokens?: string[] }>('start', {
    contender,
    ...setup,
  });
  let [token = ''] = started.tokens ?? (await service?.call<string[]>('issue', 1)) ?? [];
  const visit = async (method: 'GET' | 'POST'): Promise<Visit> => {
    const before = trips?.count ?? 0;
    const begun = performance.now();
    const path = method === 'GET' ? '/' : '/change';
    const response = await fetch(`http://127.0.0.1:${started.port}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
    });
    await response.arrayBuffer();
    const milliseconds = performance.now() - begun;
    if (!response.ok) throw new Error(`${contender} answered ${response.status}.`);
    const successor = response.headers.get('authorization')?.slice('Bearer '.length);
    if (method === 'POST' && !successor) throw new Error(`${contender} brought no new token.`);
    token = successor ?? token;
    return { milliseconds, trips: (trips?.count ?? 0) - before };
  };
  const guarded: Visit[] = [];
  const reissuing: Visit[] = [];
  const count = Math.round(settings.slice / 10) * settings.rounds;
  for (let index = -WARM_UP; index < count; index++) {
    // A new token is met once before it counts: its first look is not what every request costs.
    await visit('GET');
    const [read, changed] = [await visit('GET'), await visit('POST')];
    if (index < 0) continue;
    guarded.push(read);
    reissuing.push(changed);
  }
  return { guarded, reissuing };
}

async function startStore(resources: Resources, contender: string, keys: BenchKeys) {
  const server: Child = resources.child('server');
  if (!contenderNamed(contender).needsRedis) return { server };
  const redis = await resources.redis();
  const trips = await RoundTrips.before(redis.port);
  resources.closeWith(async () => trips.close());
  const service = await startService(resources.child('service'), keys, { redis: redis.url });
  return { server, trips, service };
}
