import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { createClient } from '@redis/client';

const READY_WITHIN_MS = 10_000;

export interface RunningRedis {
  readonly url: string;
  stop(): Promise<void>;
}

/** The Redis of `REDIS_URL`, or one that runs as long as this process and keeps nothing on disk. */
export async function startRedis(): Promise<RunningRedis> {
  const { REDIS_URL } = process.env;
  if (REDIS_URL) return { url: REDIS_URL, stop: async () => {} };
  const port = await freePort();
  const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  // In a group of its own: Ctrl-C is for the services first.
  const server = spawn('redis-server', options, { stdio: 'ignore', detached: true });
  const failed = once(server, 'exit').then(
    () => Promise.reject(new Error('The Redis server ended.')),
    () => Promise.reject(new Error('There is no redis-server. Install it, or set REDIS_URL.')),
  );
  failed.catch(() => {});
  const url = `redis://127.0.0.1:${port}`;
  await Promise.race([untilReady(url), failed]);
  return {
    url,
    stop: async () => {
      if (server.exitCode !== null || server.signalCode !== null) return;
      server.kill();
      await failed.catch(() => {});
    },
  };
}

async function untilReady(url: string): Promise<void> {
  const client = createClient({ url, socket: { reconnectStrategy: 50 } });
  client.on('error', () => {});
  const late = setTimeout(READY_WITHIN_MS, 'late', { ref: false });
  const isLate = (await Promise.race([client.connect(), late])) === 'late';
  client.destroy();
  if (isLate) throw new Error('The Redis server does not answer.');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}
