import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Contender, PLATFORMS, type Platform } from '../contenders/contender.js';
import { contendersOn } from '../contenders/index.js';
import { type Algorithm, makeKeys } from '../keys.js';
import type { RunResult, Target } from '../processes/load.js';
import type { Child } from '../processes/rpc.js';
import { fillDenyList, startService } from '../redis-fill.js';
import type { Report, Row } from '../report.js';
import { Resources } from '../resources.js';
import { interleave } from '../rounds.js';
import type { Settings } from '../settings.js';
import { ratioOf, spreadOf } from '../stats.js';
import { reportHttpGoals, type Samples } from './http.goals.js';

/** The servers of one framework, with one kind of key, with a deny list of one size. */
interface Field {
  readonly platform: Platform;
  readonly algorithm: Algorithm;
  readonly entries: number;
}

interface Server {
  readonly contender: Contender;
  readonly process: Child;
  readonly port: number;
  readonly tokens: readonly string[];
}

/** A request to a guarded route, in all combinations that say something. */
export async function http(settings: Settings, report: Report): Promise<void> {
  for (const platform of PLATFORMS.filter((name) => settings.platforms.includes(name))) {
    for (const algorithm of settings.algorithms) {
      for (const entries of settings.entries) {
        const tokenCounts = tokensFor(settings, algorithm, entries);
        if (tokenCounts.length === 0) continue;
        await Resources.use((resources) =>
          runField(resources, { platform, algorithm, entries }, tokenCounts, settings, report),
        );
      }
    }
  }
}

/** A look-up costs the same in a smaller list: that is shown once, not for every kind of key. */
function tokensFor(settings: Settings, algorithm: Algorithm, entries: number): readonly number[] {
  if (entries === Math.max(...settings.entries)) return settings.tokens;
  return algorithm === settings.algorithms[0] ? settings.tokens.slice(0, 1) : [];
}

async function runField(
  resources: Resources,
  field: Field,
  tokenCounts: readonly number[],
  settings: Settings,
  report: Report,
): Promise<void> {
  const servers = await startServers(resources, field, Math.max(...tokenCounts), settings);
  const load = resources.child('load');
  for (const count of tokenCounts) {
    const samples = await measure(servers, load, count, settings);
    if (settings.profile !== undefined) await profile(servers, load, field, count, settings);
    const where = `${field.platform}, ${field.algorithm}, ${short(count)} tokens, ${short(field.entries)} entries`;
    const rows = servers.map(({ contender }) => rowOf(contender, samples));
    report.table({ group: 'http', title: where, rows });
    reportHttpGoals(field.platform, where, samples, report);
  }
}

async function startServers(
  resources: Resources,
  { platform, algorithm, entries }: Field,
  tokenCount: number,
  settings: Settings,
): Promise<Server[]> {
  const contenders = contendersOn(platform, settings.contenders);
  const keys = makeKeys(algorithm);
  const redis = contenders.some(({ needsRedis }) => needsRedis)
    ? await resources.redis()
    : undefined;
  const store = redis ? { redis: redis.url } : {};
  const service = await startService(resources.child('service'), keys, store);
  // Everybody takes the same tokens: a larger one would take longer to parse and to verify.
  const shared = await service.call<string[]>('issue', tokenCount);
  if (redis) await fillDenyList(redis, service, entries);
  await service.stop();
  const servers: Server[] = [];
  for (const contender of contenders) {
    const process = resources.child('server');
    const setup = { platform, keys, redis: redis?.url, entries, tokens: tokenCount };
    const { port, tokens = shared } = await process.call<{ port: number; tokens?: string[] }>(
      'start',
      { contender: contender.name, ...setup },
    );
    servers.push({ contender, process, port, tokens });
  }
  return servers;
}

async function measure(
  servers: readonly Server[],
  load: Child,
  tokenCount: number,
  { rounds, slice, warmUp, connections }: Settings,
): Promise<Samples> {
  const byName = new Map(servers.map((server) => [server.contender.name, server]));
  const run = (target: string, milliseconds: number) =>
    load.call<RunResult>('run', { target, connections, milliseconds });
  for (const { contender, port, tokens } of servers) {
    const target: Target = {
      name: contender.name,
      port,
      path: '/',
      tokens: tokens.slice(0, tokenCount),
    };
    await load.call('prepare', target);
    await load.call('once', { target: contender.name, connections });
    await run(contender.name, warmUp);
  }
  return interleave([...byName.keys()], rounds, async (name) => {
    const { process } = byName.get(name) as Server;
    // What has been swapped out or throttled while others had their turn comes back.
    await run(name, slice / 10);
    const before = await process.call<number>('cpu');
    const { requests, seconds, busy } = await run(name, slice);
    const spent = (await process.call<number>('cpu')) - before;
    return { perSecond: requests / seconds, cpu: spent / requests, busy };
  });
}

async function profile(
  servers: readonly Server[],
  load: Child,
  { platform, algorithm }: Field,
  tokenCount: number,
  { profile: folder = '.', connections, slice }: Settings,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const { contender, process } of servers) {
    const { name } = contender;
    await process.call('startProfile');
    await load.call('run', { target: name, connections, milliseconds: slice });
    const file = `${platform}-${algorithm}-${tokenCount}-${name}.cpuprofile`;
    await process.call('writeProfile', resolve(folder, file));
  }
}

function rowOf({ name, title, baseline }: Contender, samples: Samples): Row {
  const own = samples.get(name) ?? [];
  const base = samples.get(baseline) ?? [];
  const of = (pick: (sample: (typeof own)[number]) => number, list = own) => list.map(pick);
  return {
    name,
    title,
    values: {
      'requests/s': spreadOf(of(({ perSecond }) => perSecond)),
      'of unguarded': ratioOf(
        of(({ perSecond }) => perSecond),
        of(({ perSecond }) => perSecond, base),
      ),
      'CPU µs/request': spreadOf(of(({ cpu }) => cpu)),
      // The other way round: more is better, as with requests.
      'of unguarded, by CPU': ratioOf(
        of(({ cpu }) => cpu, base),
        of(({ cpu }) => cpu),
      ),
      'client busy': spreadOf(of(({ busy }) => busy)),
    },
  };
}

function short(count: number): string {
  if (count >= 1_000_000) return `${count / 1_000_000} M`;
  return count >= 1_000 ? `${count / 1_000} k` : String(count);
}
