import { checkCount, complete } from '../config/checks.js';
import { refuseForeignClient } from '../deny-list/foreign-redis-client.js';
import { toTimeout } from '../duration.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import {
  NearCopyOptions,
  type RedisClusterSettings,
  type RedisDenyListOptions,
  RedisDenyListSettings,
  type RedisSentinelSettings,
  type RedisServerOptions,
} from './redis-deny-list.options.js';
import { checkRedisUrl } from './redis-url.js';

/** Where Redis is. */
export type Target =
  | { readonly kind: 'server'; readonly options: RedisServerOptions }
  | { readonly kind: 'sentinel'; readonly options: RedisSentinelSettings }
  | { readonly kind: 'cluster'; readonly options: RedisClusterSettings }
  | { readonly kind: 'client'; readonly client: object };

export interface RedisDenyListConfig {
  readonly target: Target;
  readonly commandsQueueMaxLength: number;
  readonly nearCopy: { readonly size: number; readonly lease: number } | undefined;
}

/** A lease shorter than this would end between two heartbeats of a busy process, in ms. */
const SHORTEST_LEASE_MS = 100;

export function resolveRedisOptions(options: RedisDenyListOptions): RedisDenyListConfig {
  refuseOther(options);
  const { nearCopy, commandsQueueMaxLength, ...where } = options;
  const settings = complete('redisDenyList', RedisDenyListSettings, {
    nearCopy,
    commandsQueueMaxLength,
  });
  const target = targetOf(where as Record<string, unknown>);
  return {
    target,
    commandsQueueMaxLength: checkCount(
      'redisDenyList.commandsQueueMaxLength',
      settings.commandsQueueMaxLength,
    ),
    nearCopy: resolveNearCopy(settings.nearCopy, nearCopy, target),
  };
}

/** A URL or a client in the place of the options would be taken for none: the server would be localhost. */
function refuseOther(options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new JwtStateConfigError('redisDenyList() takes an object: redisDenyList({ url }).');
  }
  if ('set' in options || 'eval' in options) {
    throw new JwtStateConfigError(
      'redisDenyList() takes an object: pass a client as redisDenyList({ client }).',
    );
  }
}

function targetOf(where: Record<string, unknown>): Target {
  const [name, ...others] = ['sentinel', 'cluster', 'client'].filter(
    (kind) => where[kind] !== undefined,
  );
  if (name === undefined) {
    refuseOwn('', where);
    checkRedisUrl('redisDenyList.url', where.url, where.socket as { tls?: unknown } | undefined);
    return { kind: 'server', options: where as RedisServerOptions };
  }
  const rest = Object.keys(where).filter((key) => key !== name && where[key] !== undefined);
  if (others.length > 0 || rest.length > 0) {
    throw new JwtStateConfigError(
      `redisDenyList: \`${name}\` says where Redis is; put nothing beside it (${rest.join(', ')}).`,
    );
  }
  if (name === 'client') {
    refuseForeignClient('redisDenyList: `client`', where.client);
    return { kind: 'client', client: where.client as object };
  }
  const options = where[name] as Record<string, unknown>;
  if (typeof options !== 'object' || options === null) {
    throw new JwtStateConfigError(`redisDenyList.${name} must be an object.`);
  }
  refuseOwn(`${name}.`, options);
  for (const part of ['nodeClientOptions', 'defaults']) {
    refuseOwn(`${name}.${part}.`, options[part] as Record<string, unknown> | undefined);
  }
  if (name === 'cluster') checkClusterUrls(options as unknown as RedisClusterSettings);
  else refuseNodeUrls(options);
  return { kind: name, options } as unknown as Target;
}

function checkClusterUrls({ rootNodes, defaults }: RedisClusterSettings): void {
  if (!Array.isArray(rootNodes) || rootNodes.length === 0) {
    throw new JwtStateConfigError(
      'redisDenyList.cluster.rootNodes must list at least one server, such as [{ url }].',
    );
  }
  for (const [index, node] of rootNodes.entries()) {
    checkRedisUrl(`redisDenyList.cluster.rootNodes[${index}].url`, node?.url, node?.socket);
  }
  checkRedisUrl('redisDenyList.cluster.defaults.url', defaults?.url, defaults?.socket);
}

/** Sentinel says where the servers are. */
function refuseNodeUrls(options: Record<string, unknown>): void {
  for (const part of ['nodeClientOptions', 'sentinelClientOptions']) {
    const { url } = (options[part] ?? {}) as { url?: unknown };
    if (url === undefined) continue;
    throw new JwtStateConfigError(
      `redisDenyList.sentinel.${part}.url must not be set: sentinelRootNodes says where the Sentinels are, and ` +
        'they name the master. Set `username`, `password` and `socket` here.',
    );
  }
}

function refuseOwn(path: string, options: Record<string, unknown> | undefined): void {
  const own = ['RESP', 'clientSideCache', 'commandOptions', 'disableOfflineQueue', 'keyPrefix'];
  const [found] = own.filter((name) => options?.[name] !== undefined);
  if (found === undefined) return;
  const instead = found === 'keyPrefix' ? 'use denyList.prefix' : 'leave it out';
  throw new JwtStateConfigError(
    `redisDenyList: ${path}${found} is set by the deny list itself; ${instead}.`,
  );
}

function resolveNearCopy(
  option: NearCopyOptions | false,
  given: NearCopyOptions | false | undefined,
  { kind }: Target,
): RedisDenyListConfig['nearCopy'] {
  const isPossible = kind === 'server' || kind === 'sentinel';
  if (given && !isPossible) {
    throw new JwtStateConfigError(
      `redisDenyList.nearCopy is not available with \`${kind}\`: Redis would not report every change to this ` +
        'process. Leave it out.',
    );
  }
  if (option === false || !isPossible) return undefined;
  const { size, lease } = complete('redisDenyList.nearCopy', NearCopyOptions, option);
  const milliseconds = toTimeout('redisDenyList.nearCopy.lease', lease);
  if (milliseconds < SHORTEST_LEASE_MS) {
    throw new JwtStateConfigError(
      `redisDenyList.nearCopy.lease must be at least ${SHORTEST_LEASE_MS} ms.`,
    );
  }
  return { size: checkCount('redisDenyList.nearCopy.size', size), lease: milliseconds };
}
