import { randomUUID } from 'node:crypto';
import KeyvRedis from '@keyv/redis';
import { createClient } from '@redis/client';
import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';

/** Two hours: longer than any run. */
const ENTRY_TTL = 7_200_000;

/** What an application has at hand: cache-manager over Redis, with a client that it has made. */
export async function redisCache(url: string): Promise<Cache> {
  const client = createClient({ url, disableOfflineQueue: true });
  client.on('error', () => {});
  await client.connect();
  // Keyv's types are those of another major version of the client.
  return createCache({ stores: [new Keyv(new KeyvRedis(client as never))] });
}

/** cache-manager in this process, with so many other entries in it. */
export async function memoryCache(entries: number): Promise<Cache> {
  const cache = createCache();
  for (let index = 0; index < entries; index++) await cache.set(randomUUID(), true, ENTRY_TTL);
  return cache;
}

/** The deny list that an application writes in five minutes. */
export async function isListed(cache: Cache, id: string | undefined): Promise<boolean> {
  return id !== undefined && (await cache.get(id)) !== undefined;
}
