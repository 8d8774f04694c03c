import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_WITHIN_MS = 20_000;

/** A Redis (or Valkey) server of our own on a free port. */
export async function startRedis() {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  for (const name of ['redis-server', 'valkey-server']) {
    const child = spawn(name, args, { stdio: 'ignore' });
    const failure = once(child, 'error').then(() => 'missing');
    const ready = answers(port).then((isUp) => (isUp ? 'up' : 'silent'));
    if ((await Promise.race([failure, ready])) === 'up') {
      return {
        url: `redis://127.0.0.1:${port}`,
        stop: async () => {
          const ended = once(child, 'exit');
          child.kill('SIGTERM');
          await ended;
        },
      };
    }
    child.kill('SIGKILL');
  }
  throw new Error('No redis-server or valkey-server starts. Install one: npm run test:setup.');
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

async function answers(port) {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline) {
    const socket = connect(port, '127.0.0.1');
    const isUp = await new Promise((resolve) => {
      socket.once('data', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.write('PING\r\n'));
    });
    socket.destroy();
    if (isUp) return true;
    await sleep(50);
  }
  return false;
}
