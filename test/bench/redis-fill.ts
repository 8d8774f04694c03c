import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { createClient } from '@redis/client';
import type { RedisServer } from '../support/redis-server.js';
import type { BenchKeys } from './keys.js';
import type { Child } from './processes/rpc.js';

/** A revocation as it lies in Redis. */
export interface RedisEntry {
  /** Without its id, which ends it. */
  readonly start: string;
  readonly value: string;
  readonly ttl: number;
}

const ID = /[\w-]{22}$/;
const BATCH = 10_000;
const OK_LENGTH = '+OK\r\n'.length;

/**
 * Fills a deny list in Redis. The library revokes one session; the others are copies of that entry
 * with ids of their own, since ten million requests to a service would take an hour.
 *
 * @param service connected to this Redis
 */
export async function fillDenyList(
  redis: RedisServer,
  service: Child,
  count: number,
): Promise<void> {
  await writeCopies(redis.port, await sampleEntry(redis, service), count - 1);
}

async function sampleEntry(redis: RedisServer, service: Child): Promise<RedisEntry> {
  const client = createClient({ url: redis.url });
  await client.connect();
  try {
    const before = new Set(await client.keys('*'));
    await service.call('revokeSessions', 1);
    const [key, ...others] = (await client.keys('*')).filter((name) => !before.has(name));
    if (key === undefined || others.length > 0 || !ID.test(key)) {
      throw new Error(`A revocation was expected to write one key: ${[key, ...others].join(' ')}`);
    }
    const value = (await client.get(key)) ?? '';
    return { start: key.replace(ID, ''), value, ttl: await client.pTTL(key) };
  } finally {
    client.destroy();
  }
}

/** Past the client library: its promises would take longer than Redis does. */
async function writeCopies(port: number, entry: RedisEntry, count: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let answered = 0;
  let notify = () => {};
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
    notify();
  });
  socket.on('data', (chunk) => {
    if (chunk.includes('-')) failure = new Error(`Redis refused: ${chunk.toString()}`);
    answered += chunk.length / OK_LENGTH;
    notify();
  });
  for (let sent = 0; sent < count; ) {
    const size = Math.min(BATCH, count - sent);
    socket.write(commands(entry, size));
    sent += size;
    // One batch is on its way while the next one is put together.
    while (answered < sent - BATCH || (sent === count && answered < count - 0.5)) {
      if (failure) throw failure;
      await new Promise<void>((resolve) => {
        notify = resolve;
      });
    }
  }
  socket.destroy();
}

function commands({ start, value, ttl }: RedisEntry, count: number): string {
  const head = `*5\r\n$3\r\nSET\r\n$${start.length + 22}\r\n${start}`;
  const tail = `\r\n$${value.length}\r\n${value}\r\n$2\r\nPX\r\n$${String(ttl).length}\r\n${ttl}\r\n`;
  const bytes = randomBytes(16 * count);
  let text = '';
  for (let index = 0; index < count; index++) {
    text += head + bytes.toString('base64url', 16 * index, 16 * (index + 1)) + tail;
  }
  return text;
}

export async function usedMemory(redis: RedisServer): Promise<number> {
  const client = createClient({ url: redis.url });
  await client.connect();
  try {
    const info = await client.info('memory');
    return Number(/used_memory:(\d+)/.exec(info)?.[1]);
  } finally {
    client.destroy();
  }
}

/** A service without HTTP, in a process of its own. */
export async function startService(
  service: Child,
  keys: BenchKeys,
  store: { redis?: string; near?: boolean; refreshTokens?: boolean } = {},
): Promise<Child> {
  await service.call('start', { keys, ...store });
  return service;
}
