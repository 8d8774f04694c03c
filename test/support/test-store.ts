import { randomUUID } from 'node:crypto';
import KeyvRedis from '@keyv/redis';
import { createClient } from '@redis/client';
import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { Faults, type StoreVerb } from '../../lib/testing/faults.js';

export const STORES = ['memory', 'Redis'] as const;
export type StoreKind = (typeof STORES)[number];

const opened = new Set<TestStore>();

/**
 * A place that deny lists are kept in. Applications that are given the same one share it, as two
 * processes would; `fail` lets it fail for all of them.
 */
export abstract class TestStore {
  /** How often it was asked, by all applications together. */
  lookups = 0;
  protected readonly prefix = `test-${randomUUID()}:`;
  private readonly faults = new Faults();

  static create(kind: StoreKind): TestStore {
    const store = kind === 'Redis' ? new SharedRedis() : new SharedMemory();
    opened.add(store);
    return store;
  }

  /** The options of one more application that uses this store. */
  async connect(): Promise<{ cache: Cache; prefix: string }> {
    return { cache: createCache({ stores: [await this.keyv()] }), prefix: this.prefix };
  }

  /** From now on nothing is answered, or nothing of one verb, or nothing about some keys. */
  fail(only?: StoreVerb, keys = /./): void {
    this.faults.set({ kind: 'fails', keys, ...(only && { only }) });
  }

  recover(): void {
    this.faults.clear();
  }

  /** Deletes all entries, as FLUSHALL does, or those with certain keys. */
  abstract wipe(keys?: RegExp): Promise<void>;
  abstract close(): Promise<void>;
  protected abstract keyv(): Promise<Keyv>;

  protected pass(verb: StoreVerb, keys: readonly string[]): void {
    if (verb === 'read') this.lookups += 1;
    void this.faults.pass(verb, keys);
  }
}

class SharedMemory extends TestStore {
  private readonly map = new GatedMap((verb, key) => this.pass(verb, [key]));

  protected async keyv(): Promise<Keyv> {
    return new Keyv({ store: this.map });
  }

  async wipe(keys = /./): Promise<void> {
    for (const key of this.map.keys()) if (keys.test(key)) this.map.delete(key);
  }

  async close(): Promise<void> {}
}

class GatedMap extends Map<string, unknown> {
  constructor(private readonly gate: (verb: StoreVerb, key: string) => void) {
    super();
  }

  override get(key: string): unknown {
    this.gate('read', key);
    return super.get(key);
  }

  override set(key: string, value: unknown): this {
    this.gate('write', key);
    return super.set(key, value);
  }
}

type Redis = ReturnType<typeof createRedisClient>;

/** The run's Redis server, with one connection for each application. */
class SharedRedis extends TestStore {
  private readonly clients = new Set<Redis>();

  protected async keyv(): Promise<Keyv> {
    const client = createRedisClient();
    this.clients.add(client);
    await client.connect();
    this.guard(client);
    // The cast: @keyv/redis brings the types of an older client.
    return new Keyv(new KeyvRedis(client as unknown as ConstructorParameters<typeof KeyvRedis>[0]));
  }

  async wipe(keys = /./): Promise<void> {
    const [client] = this.clients;
    if (!client) return;
    for await (const page of client.scanIterator({ MATCH: `*${this.prefix}*` })) {
      const doomed = page.filter((key) => keys.test(key));
      if (doomed.length > 0) await client.del(doomed);
    }
  }

  async close(): Promise<void> {
    // The server may be somebody's own, and outlive this run.
    await this.wipe();
    for (const client of this.clients) client.destroy();
  }

  private guard(client: Redis): void {
    const gate = (command: string, verb: StoreVerb, keysOf: (args: never[]) => string[]) => {
      const commands = client as unknown as Record<string, (...args: never[]) => Promise<unknown>>;
      const original = commands[command]?.bind(client);
      commands[command] = async (...args) => {
        this.pass(verb, keysOf(args));
        return original?.(...args);
      };
    };
    gate('get', 'read', ([key]) => [key as unknown as string]);
    gate('mGet', 'read', ([keys]) => keys as unknown as string[]);
    gate('set', 'write', ([key]) => [key as unknown as string]);
    gate('eval', 'write', ([, options]) => (options as unknown as { keys: string[] }).keys);
  }
}

function createRedisClient() {
  const client = createClient({ url: process.env.REDIS_URL as string, disableOfflineQueue: true });
  client.on('error', () => {});
  return client;
}

/** For `afterEach`, once the applications are closed. */
export async function closeStores(): Promise<void> {
  await Promise.all([...opened].map((store) => store.close()));
  opened.clear();
}
