import type { RedisClientOptions, RedisClusterOptions, RedisSentinelOptions } from '@redis/client';
import type { Duration } from '../duration.js';

/** Set by the deny list itself, or at odds with what it needs. */
type OwnSettings =
  | 'RESP'
  | 'clientSideCache'
  | 'commandOptions'
  | 'commandsQueueMaxLength'
  | 'disableOfflineQueue'
  | 'emitInvalidate'
  | 'functions'
  | 'keyPrefix'
  | 'maintNotifications'
  | 'modules'
  | 'pingInterval'
  | 'readonly'
  | 'scripts'
  | 'useReplicas';

/** What is kept in this process of the answers that Redis gave. */
export class NearCopyOptions {
  /**
   * How many entries are kept at most, absent ones included. A token takes about eight, of which some
   * are shared by all tokens of a session or a user.
   */
  size?: number = 100_000;
  /**
   * How long answers from here count when Redis is not heard any more though the connection stands, as
   * with a server that hangs. At least 100 ms.
   */
  lease?: Duration = '1s';
}

/** For every way to Redis. */
export class RedisDenyListSettings {
  /**
   * Look-ups that were answered before need no round trip: Redis tells of changes. `false`: every
   * look-up asks Redis. Not available with `cluster` and `client`.
   */
  nearCopy?: NearCopyOptions | false = {};
  /** How many commands may wait for their answer; further ones fail at once. */
  commandsQueueMaxLength?: number = 10_000;
}

/**
 * One server: the options of `createClient`, such as `url`, `socket`, `username`, `password`. In a `url` the
 * user name and the password are percent-encoded: `encodeURIComponent(password)`.
 */
export type RedisServerOptions = Omit<RedisClientOptions, OwnSettings>;

/**
 * The options of `createSentinel`. TLS and ACL of the servers go into `nodeClientOptions`, those of
 * the Sentinels into `sentinelClientOptions`.
 */
export type RedisSentinelSettings = Omit<
  RedisSentinelOptions,
  OwnSettings | 'nodeClientOptions'
> & {
  nodeClientOptions?: Omit<RedisServerOptions, 'url'>;
};

/** The options of `createCluster`. TLS and ACL of the servers go into `defaults`. */
export type RedisClusterSettings = Omit<RedisClusterOptions, OwnSettings | 'defaults'> & {
  defaults?: RedisServerOptions;
};

interface NoOther {
  sentinel?: never;
  cluster?: never;
  client?: never;
}

/**
 * Where the deny list is: a server, a master that Sentinel names, a cluster, or a client that the
 * application has made.
 *
 * @publicApi
 */
export type RedisDenyListOptions = RedisDenyListSettings &
  (
    | (RedisServerOptions & NoOther)
    | { sentinel: RedisSentinelSettings; cluster?: never; client?: never }
    | { cluster: RedisClusterSettings; sentinel?: never; client?: never }
    | {
        /**
         * A client of `@redis/client` (not of ioredis), which the application connects and closes. It should have
         * `disableOfflineQueue` set, and must not read from replicas, which may not know of the latest
         * revocation: `replicaPoolSize: 0` for Sentinel, no `useReplicas` for a cluster.
         */
        client: object;
        sentinel?: never;
        cluster?: never;
      }
  );
