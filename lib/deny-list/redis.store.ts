import type { DenyListStore, Entry } from './deny-list.store.js';
import { hasOneConnection } from './one-connection.js';
import { type RedisCommands, redisVerbs } from './redis.commands.js';

/** What @keyv/redis offers beside Keyv's own verbs. No import: Redis is an optional peer. */
export interface KeyvRedisAdapter {
  readonly client: RedisCommands;
  readonly namespace?: string | undefined;
  getClient(): Promise<RedisCommands>;
  createKeyPrefix(key: string, namespace?: string): string;
  isCluster(): boolean;
}

/**
 * The client under a KeyvRedis, used directly: Keyv has no atomic verbs, and its JSON envelope
 * holds an `expires` by the writer's clock that a reader ahead of it would delete for everyone.
 */
export class RedisStore implements DenyListStore {
  readonly atomic = 'store';
  readonly ephemeral = false;
  readonly neverShortens = true;
  readonly isOrdered: boolean;
  private wasOpen = false;

  readonly writeBothIfAbsent: DenyListStore['writeBothIfAbsent'];
  readonly removeIfUnchanged: DenyListStore['removeIfUnchanged'];
  readonly conclude: DenyListStore['conclude'];

  constructor(private readonly adapter: KeyvRedisAdapter) {
    // Not a cluster either, where two keys lie on two servers, as a rule.
    this.isOrdered = !adapter.isCluster() && hasOneConnection(adapter.client);
    if (!this.isOrdered) return;
    this.writeBothIfAbsent = async (...entries) => {
      const named = entries.map((entry) => ({ ...entry, key: this.name(entry.key) }));
      return redisVerbs.writeBothIfAbsent(await this.client(), ...(named as [Entry, Entry]));
    };
    this.removeIfUnchanged = async (key, expected) =>
      redisVerbs.removeIfUnchanged(await this.client(), this.name(key), expected);
    this.conclude = async (jti, successor, next, ttl) => {
      const client = await this.client();
      return redisVerbs.conclude(client, this.name(jti), successor, this.name(next), ttl);
    };
  }

  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    const names = keys.map((key) => this.name(key));
    return redisVerbs.read(await this.client(), names, this.adapter.isCluster());
  }

  async write(key: string, value: string, ttl: number | undefined): Promise<void> {
    await redisVerbs.write(await this.client(), this.name(key), value, ttl);
  }

  async writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    return redisVerbs.writeIfAbsent(await this.client(), this.name(key), value, ttl);
  }

  async writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    const client = await this.client();
    return redisVerbs.writeIfUnchanged(client, this.name(key), expected, value, ttl);
  }

  /** Connects a client that was never connected; one that its owner has closed stays closed. */
  private async client(): Promise<RedisCommands> {
    const { client } = this.adapter;
    if (!client.isOpen && this.wasOpen) throw new Error('The Redis client has been closed.');
    const open = client.isOpen ? client : await this.adapter.getClient();
    this.wasOpen = true;
    return open;
  }

  private name(key: string): string {
    return this.adapter.createKeyPrefix(key, this.adapter.namespace);
  }
}
