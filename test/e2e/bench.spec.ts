import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { ServiceProcess } from '../support/service-process.js';

/* Nothing is timed here. It is about whether the benchmarks still run and say what they used to. */

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-bench-'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('compares two contenders and writes what it has found', async () => {
  const out = join(folder, 'results.json');
  const output = await ServiceProcess.finish(
    'test/bench/main.ts',
    [
      ...['--only=http', '--platform=fastify', '--alg=HS256', '--contenders=jwt-state'],
      ...['--tokens=2', '--entries=10', '--rounds=1', '--slice=50ms', '--warm-up=50ms'],
      ...['--connections=2', `--out=${out}`],
    ],
    {},
  );

  const { tables, goals, settings } = JSON.parse(readFileSync(out, 'utf8'));
  const spread = { median: expect.any(Number), rounds: [expect.any(Number)] };
  const values = {
    'requests/s': spread,
    'of unguarded': spread,
    'CPU µs/request': spread,
    'of unguarded, by CPU': spread,
    'client busy': spread,
  };
  expect(settings).toMatchObject({ rounds: 1, slice: 50, contenders: ['jwt-state'] });
  expect(tables).toMatchObject([
    {
      group: 'http',
      title: 'fastify, HS256, 2 tokens, 10 entries',
      rows: [
        { name: 'unguarded', values },
        { name: 'jwt-state', values },
      ],
    },
  ]);
  expect(goals.map(({ goal }: { goal: string }) => goal)).toEqual([
    'in memory, of unguarded, by requests',
    'in memory, of unguarded, by CPU',
  ]);
  expect(output).toContain('nestjs-jwt-state, in memory');
});
