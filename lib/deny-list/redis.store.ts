import { type DenyListStore, StoreAnswerError } from './deny-list.store.js';

/** The commands used of a node-redis client, standalone, Sentinel or cluster. */
export interface RedisCommands {
  readonly isOpen: boolean;
  readonly options?: { readonly disableOfflineQueue?: boolean };
  get(key: string): Promise<unknown>;
  mGet?(keys: string[]): Promise<unknown[]>;
  set(key: string, value: string, options?: { PX?: number; NX?: true }): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

/** What @keyv/redis offers beside Keyv's own verbs. No import: Redis is an optional peer. */
export interface KeyvRedisAdapter {
  readonly client: RedisCommands;
  readonly namespace?: string | undefined;
  getClient(): Promise<RedisCommands>;
  createKeyPrefix(key: string, namespace?: string): string;
  isCluster(): boolean;
}

/** Replaces a value only where it is still the one expected; answers what stands there else. */
const WRITE_IF_UNCHANGED = `
local current = redis.call('GET', KEYS[1])
if (current or '') ~= ARGV[1] then return current or '' end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false`;

/**
 * The client under a KeyvRedis, used directly: Keyv has no atomic verbs, and its JSON envelope
 * holds an `expires` by the writer's clock that a reader ahead of it would delete for everyone.
 */
export class RedisStore implements DenyListStore {
  readonly atomic = 'store';
  readonly ephemeral = false;
  private wasOpen = false;

  constructor(private readonly adapter: KeyvRedisAdapter) {}

  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    const client = await this.client();
    const names = keys.map((key) => this.name(key));
    // A cluster answers per slot; single GETs issued together still share one round trip.
    const values =
      client.mGet && !this.adapter.isCluster()
        ? await client.mGet(names)
        : await Promise.all(names.map((name) => client.get(name)));
    if (values.length !== keys.length) throw new Error('Redis answered with a wrong length.');
    return values.map(toText);
  }

  async write(key: string, value: string, ttl: number | undefined): Promise<void> {
    const client = await this.client();
    const answer = await client.set(this.name(key), value, ttl === undefined ? {} : { PX: ttl });
    if (answer !== 'OK') throw new Error('Redis did not confirm the write.');
  }

  async writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    const client = await this.client();
    const name = this.name(key);
    const options = { NX: true as const, ...(ttl !== undefined && { PX: ttl }) };
    // Twice, for the entry that expires between the refusal and the look at what refused.
    for (let attempt = 0; attempt < 2; attempt++) {
      if ((await client.set(name, value, options)) === 'OK') return undefined;
      const current = toText(await client.get(name));
      if (current !== undefined) return current;
    }
    throw new Error('Redis neither took the write nor showed what prevented it.');
  }

  async writeIfUnchanged(key: string, expected: string | undefined, value: string, ttl: number) {
    const client = await this.client();
    const command = { keys: [this.name(key)], arguments: [expected ?? '', value, String(ttl)] };
    const answer = await client.eval(WRITE_IF_UNCHANGED, command).catch(rethrowPermission);
    if (answer === null) return { written: true };
    return { written: false, current: toText(answer) || undefined };
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

function toText(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'string') {
    throw new StoreAnswerError('It holds a value of another kind.');
  }
  return value;
}

/** An account that may not run scripts is a mistake in its set-up, not an outage. */
function rethrowPermission(error: unknown): never {
  const isRefusal = error instanceof Error && error.message.startsWith('NOPERM');
  throw isRefusal ? new StoreAnswerError('The Redis account may not use EVAL.') : error;
}
