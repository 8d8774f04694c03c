import { makeKeys } from '../keys.js';
import type { Child } from '../processes/rpc.js';
import type { VerifyRun } from '../processes/service.js';
import { fillDenyList, startService } from '../redis-fill.js';
import { goalOf, type Report } from '../report.js';
import { Resources } from '../resources.js';
import { interleave } from '../rounds.js';
import type { Settings } from '../settings.js';
import { ratioOf, spreadOf } from '../stats.js';

const TOKENS = 100;
const LIMIT = 1.1;
/** One after the other, and as many on the way at once as a busy service has. */
const WAYS = [
  { title: 'one by one', parallel: 1, perMillisecond: 5 },
  { title: '64 at once', parallel: 64, perMillisecond: 20 },
] as const;

/** Whether a look-up takes longer in a longer deny list. All lists are there at once. */
export async function storeSize(settings: Settings, report: Report): Promise<void> {
  await Resources.use(async (resources) => {
    const keys = makeKeys('HS256');
    const services = new Map<string, { process: Child; tokens: string[] }>();
    for (const size of settings.sizes) {
      const redis = await resources.redis();
      const process = await startService(resources.child('service'), keys, { redis: redis.url });
      const tokens = await process.call<string[]>('issue', TOKENS);
      await fillDenyList(redis, process, size);
      services.set(String(size), { process, tokens });
    }
    for (const { title, parallel, perMillisecond } of WAYS) {
      const times = Math.max(parallel, Math.round(settings.slice * perMillisecond));
      const samples = await interleave([...services.keys()], settings.rounds, (name) => {
        const { process, tokens } = services.get(name) as { process: Child; tokens: string[] };
        return process.call<number>('verify', { tokens, times, parallel } satisfies VerifyRun);
      });
      const rows = [...samples].map(([name, values]) => ({
        name,
        title: `${Number(name).toLocaleString('en-US')} entries`,
        values: {
          'µs/look-up': spreadOf(values),
          'of the smallest': ratioOf(values, samples.get(smallest(settings)) ?? []),
        },
      }));
      report.table({ group: 'store-size', title: `TokenService.verify, Redis, ${title}`, rows });
      const largest = samples.get(String(Math.max(...settings.sizes))) ?? [];
      const figure = ratioOf(largest, samples.get(smallest(settings)) ?? []);
      report.goal(goalOf('longest list, of shortest', `store-size, ${title}`, figure, '<=', LIMIT));
    }
  });
}

function smallest({ sizes }: Settings): string {
  return String(Math.min(...sizes));
}
