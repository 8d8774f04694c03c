import { setTimeout } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { createClient } from '@redis/client';

export type Redis = ReturnType<typeof createClient>;

const WAIT_AT_BOOT_MS = 2_000;
const SLOWEST_RECONNECT_MS = 1_000;

/**
 * A client that fails at once while the server is away, and comes back by itself. Where there is no
 * server at boot the application starts all the same and answers 503 until there is one, as it
 * does when the server goes away later.
 */
export async function connectRedis(url: string): Promise<Redis> {
  const logger = new Logger('Redis');
  const client = createClient({
    url,
    // Without this, commands wait for a connection instead of failing.
    disableOfflineQueue: true,
    socket: {
      connectTimeout: 2_000,
      reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, SLOWEST_RECONNECT_MS),
    },
  }) as Redis;
  let isDown = false;
  // An 'error' event that nobody listens to ends the process.
  client.on('error', (error: Error & { code?: string }) => {
    if (!isDown) logger.error(`Not connected (${error.message || error.code}), trying again.`);
    isDown = true;
  });
  client.on('ready', () => {
    logger.log('Connected.');
    isDown = false;
  });
  const connected = client.connect().catch(() => logger.error('Gave up connecting.'));
  await Promise.race([connected, setTimeout(WAIT_AT_BOOT_MS, undefined, { ref: false })]);
  if (!client.isReady) logger.warn('Starting without Redis: requests get 503 until it is there.');
  return client;
}
