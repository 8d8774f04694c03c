import { KeyvCacheableMemory } from '@cacheable/memory';
import { Logger } from '@nestjs/common';
import { type Cache, createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import type { Clock } from '../clock.js';
import type { TokenEvents } from '../events/token-events.js';
import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { type AvailabilityListener, BoundedStore } from './bounded.store.js';
import { DenyListKeys } from './deny-list.keys.js';
import type { DenyListStore } from './deny-list.store.js';
import { refuseForeignClient } from './foreign-redis-client.js';
import { KeyvStore } from './keyv.store.js';
import { MemoryAdapter } from './memory.adapter.js';
import { MemoryStore } from './memory.store.js';
import { type NativeStore, nativeStoreOf } from './native-store.js';
import { type KeyvRedisAdapter, RedisStore } from './redis.store.js';
import { VoidStore } from './void.store.js';

/** A refusal stands in the log at most so often, in ms: it may be that every request meets it. */
const REFUSAL_LOGGED_EVERY_MS = 1_000;

/** The default cache: in this process, purging what has expired and evicting nothing else. */
export function createMemoryCache(): Cache {
  return createCache({ stores: [new Keyv({ store: new MemoryAdapter() })] });
}

/** The configured store, open, answering in time or failing, and saying so in the log. */
export async function openStore(
  config: JwtStateConfig,
  clock: Clock,
  events: TokenEvents,
): Promise<DenyListStore> {
  const listener = tellingOf(clock, events);
  const store = createBoundedStore(config, clock, events, listener);
  const { cache, prefix, isOn, lookupTimeout: deadline } = config.denyList;
  const names = new DenyListKeys(prefix);
  if (isOn && cache) await nativeStoreIn(cache)?.open({ names, deadline, listener, clock });
  return store;
}

/** Closes what {@link openStore} has opened; a client that the application made is its own. */
export async function closeStore({ denyList }: JwtStateConfig): Promise<void> {
  if (denyList.isOn && denyList.cache) await nativeStoreIn(denyList.cache)?.close();
}

function nativeStoreIn(cache: Cache): NativeStore | undefined {
  return nativeStoreOf(onlyStoreOf(cache).store);
}

/** The configured store, answering in time or failing, and saying so in the log. */
export function createBoundedStore(
  { denyList, refresh }: JwtStateConfig,
  clock: Clock,
  events: TokenEvents,
  listener = tellingOf(clock, events),
): DenyListStore {
  if (!denyList.isOn) return new VoidStore(new DenyListKeys(denyList.prefix).witness);
  const store = createStore(denyList);
  if (refresh.tokens && !refresh.tokens.allowNonAtomicStore) refuseNonAtomic(store);
  return new BoundedStore(store, denyList.lookupTimeout, clock, listener);
}

/** Tells the log and those who listen to events. */
function tellingOf(clock: Clock, events: TokenEvents): AvailabilityListener {
  const logger = new Logger('JwtStateModule');
  let refusalLoggedAt = Number.NEGATIVE_INFINITY;
  return {
    down: (cause) => {
      logger.error(`The deny list does not answer: ${reasonOf(cause)}`);
      events.emit('store-failed', { reason: reasonOf(cause) });
    },
    refused: (error) => {
      const now = clock.now();
      if (Math.abs(now - refusalLoggedAt) >= REFUSAL_LOGGED_EVERY_MS) {
        logger.error(`The deny list refused a request: ${error.message}`);
        refusalLoggedAt = now;
      }
      events.emit('store-failed', { reason: reasonOf(error) });
    },
    up: () => {
      logger.log('The deny list answers again.');
      events.emit('store-recovered', {});
    },
  };
}

function refuseNonAtomic({ atomic, ephemeral }: DenyListStore): void {
  if (atomic === 'store' || ephemeral) return;
  throw new JwtStateConfigError(
    'refresh.tokens: the store of the deny list has no atomic "set if absent". Two processes could ' +
      'exchange one refresh token at once, and the user would be logged out. Use Redis ' +
      '(nestjs-jwt-state/redis, @keyv/redis), or set refresh.tokens.allowNonAtomicStore if there is only one process.',
  );
}

/** The kind of failure, not its text: a client's message may quote a URL with its password. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown';
  const { code } = cause as { code?: unknown };
  return typeof code === 'string' ? code : cause.constructor.name;
}

/**
 * The store under a cache-manager cache. The rules talk to the store itself: `cache.get` answers
 * "not found" when the store is down, and a deny list must never take that for "not denied".
 *
 * @throws JwtStateConfigError for a cache in which an entry could get lost without a word
 */
export function createStore({
  cache,
  prefix,
  lookupTimeout,
}: Pick<JwtStateConfig['denyList'], 'cache' | 'prefix' | 'lookupTimeout'>): DenyListStore {
  const keyv = onlyStoreOf(cache ?? createMemoryCache());
  const adapter = keyv.store as Record<string, unknown>;
  const native = nativeStoreOf(adapter);
  if (native) return native;
  refuseLossy(keyv, adapter);
  // Keyv prefixes such keys when it reads many and not when it reads one.
  if (keyv.namespace && prefix.startsWith(`${keyv.namespace}:`)) {
    throw new JwtStateConfigError(
      `denyList.prefix begins with the namespace of the Keyv store (${keyv.namespace}): choose another.`,
    );
  }
  keyv.throwOnErrors = true;
  if ('throwOnErrors' in adapter) adapter.throwOnErrors = true;
  if (isKeyvRedis(adapter)) {
    refuseForeignClient('denyList.cache: the client of its KeyvRedis', adapter.client);
    warnAboutQueue(adapter);
    return new RedisStore(adapter);
  }
  if (keyv.store instanceof MemoryAdapter) return new MemoryStore(keyv.store);
  return new KeyvStore(keyv, isInMemory(keyv), lookupTimeout);
}

function onlyStoreOf(cache: Cache): Keyv {
  const stores = cache?.stores;
  if (!Array.isArray(stores)) {
    throw new JwtStateConfigError(
      'denyList.cache is not a cache-manager cache: pass what `createCache({ stores: [keyv] })` returns.',
    );
  }
  const [keyv, ...others] = stores;
  if (!keyv || others.length > 0) {
    throw new JwtStateConfigError(
      `denyList.cache has ${stores.length} stores; a deny list needs exactly one. A tier in front ` +
        'answers "not found" for what it has not seen yet, and a revoked token would pass.',
    );
  }
  if (typeof keyv.get !== 'function' || typeof keyv.store?.get !== 'function') {
    throw new JwtStateConfigError('denyList.cache: its store is not a Keyv.');
  }
  return keyv;
}

/** Options under which a store forgets, shortens, or mixes up entries. */
function refuseLossy(keyv: Keyv, adapter: Record<string, unknown>): void {
  const inner = [
    keyv as unknown as object,
    adapter,
    adapter.store,
    adapter.opts,
    adapter.primary,
  ].filter((part): part is Record<string, unknown> => typeof part === 'object' && part !== null);
  for (const [option, why] of LOSSY) {
    if (inner.some((part) => isSet(part[option]))) {
      throw new JwtStateConfigError(`denyList.cache: its store has \`${option}\` set; ${why}.`);
    }
  }
}

const LOSSY: readonly (readonly [string, string])[] = [
  ['lruSize', 'it drops entries that are still needed, and with them revocations. Leave it out'],
  ['ttl', 'it would end entries that are written to stay. Leave it out'],
  ['maxTtl', 'it ends revocations before the tokens they deny. Leave it out'],
  [
    'connectionTimeout',
    'it can deliver the reply to another command. Connect the client yourself and pass it',
  ],
];

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== 0 && value !== false;
}

function isInMemory({ store }: Keyv): boolean {
  return store instanceof Map || store instanceof KeyvCacheableMemory;
}

/** Every request of an outage would wait in that queue, and late writes land when it ends. */
function warnAboutQueue({ client }: KeyvRedisAdapter): void {
  if (client.options === undefined || client.options.disableOfflineQueue) return;
  new Logger('JwtStateModule').warn(
    'The Redis client of the deny list queues commands while it is not connected. Make it with ' +
      '`createClient({ url, disableOfflineQueue: true })` and pass it to KeyvRedis.',
  );
}

function isKeyvRedis(adapter: object): adapter is KeyvRedisAdapter {
  const candidate = adapter as Partial<KeyvRedisAdapter>;
  return (
    typeof candidate.getClient === 'function' &&
    typeof candidate.createKeyPrefix === 'function' &&
    typeof candidate.client?.eval === 'function'
  );
}
