import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { createClient } from '@redis/client';
import { RedisServer } from '../support/redis-server.js';

describe('RedisServer', () => {
  const servers: RedisServer[] = [];
  const start = async (...options: Parameters<typeof RedisServer.start>) => {
    const server = await RedisServer.start(...options);
    servers.push(server);
    return server;
  };

  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.stop()));
  });

  it('answers at its url, with the arguments it was given', async () => {
    const server = await start({ args: ['--maxmemory', '3mb'] });
    await withClient(server, async (client) => {
      expect(await client.ping()).toBe('PONG');
      expect(await client.configGet('maxmemory')).toMatchObject({ maxmemory: '3145728' });
    });
  });

  it('is not the run’s shared server, whose url is in REDIS_URL', async () => {
    const server = await start();
    expect(process.env.REDIS_URL).toMatch(/^rediss?:/);
    expect(process.env.REDIS_URL).not.toBe(server.url);
  });

  it.each(['stop', 'kill'] as const)('%s() ends its process, suspended or not', async (end) => {
    for (const suspended of [false, true]) {
      const server = await start();
      const { pid } = server;
      if (suspended) server.suspend();
      await server[end]();
      expect(isAlive(pid)).toBe(false);
      expect(server.running).toBe(false);
    }
  });

  it('suspend() leaves connections without an answer until resume()', async () => {
    const server = await start();
    server.suspend();
    const socket = connect(server.port, '127.0.0.1');
    await once(socket, 'connect');
    const answer = once(socket, 'data');
    socket.write('PING\r\n');
    const patience = new Promise((resolve) => setTimeout(resolve, 200, 'nothing'));
    expect(await Promise.race([answer, patience])).toBe('nothing');
    server.resume();
    expect(String(await answer)).toBe('+PONG\r\n');
    socket.destroy();
  });

  it.each(['restart', 'flush'] as const)('%s() leaves it empty on the same port', async (empty) => {
    const server = await start();
    const { url } = server;
    await withClient(server, (client) => client.set('key', 'value'));
    await server[empty]();
    expect(server.url).toBe(url);
    await withClient(server, async (client) => expect(await client.get('key')).toBeNull());
  });

  it('restart() brings a killed server back', async () => {
    const server = await start();
    await server.kill();
    await server.restart();
    await withClient(server, async (client) => expect(await client.ping()).toBe('PONG'));
  });

  it('says so when its port is taken', async () => {
    const { port } = await start();
    await expect(RedisServer.start({ port })).rejects.toThrow('Address already in use');
  });

  it('says what the server said when it does not start', async () => {
    await expect(RedisServer.start({ args: ['--no-such-option', '1'] })).rejects.toThrow(
      /did not start[\s\S]*no-such-option/,
    );
  });
});

async function withClient<T>(
  server: RedisServer,
  use: (client: ReturnType<typeof clientOf>) => Promise<T>,
): Promise<T> {
  const client = clientOf(server);
  await client.connect();
  try {
    return await use(client);
  } finally {
    client.destroy();
  }
}

const clientOf = ({ url }: RedisServer) => createClient({ url });

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
