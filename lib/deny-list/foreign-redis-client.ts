import { JwtStateConfigError } from '../jwt-state.errors.js';

/**
 * Clients of other packages have methods of the same names that take other arguments: `set(key, value,
 * { PX })` of ioredis is an error of the server, and a revocation would be lost.
 *
 * @param where names the client in the message
 * @throws JwtStateConfigError for anything but a client of @redis/client
 */
export function refuseForeignClient(where: string, client: unknown): void {
  const { set, eval: run, isOpen } = (client ?? {}) as Record<string, unknown>;
  const name = nameOf(client ?? {});
  const isOurs =
    typeof set === 'function' && typeof run === 'function' && 'boolean' === typeof isOpen;
  if (name === undefined && isOurs) return;
  throw new JwtStateConfigError(
    `${where} is ${name ?? 'not a client of @redis/client'}. Pass one that createClient(), createSentinel() or ` +
      'createCluster() of @redis/client has made, or let redisDenyList({ url }) make its own.',
  );
}

/** By the methods that only they have: a bundler may rename the class. */
function nameOf(client: object): string | undefined {
  if ('defineCommand' in client && 'getBuiltinCommands' in client) {
    return 'a client of ioredis (or of its fork iovalkey), which is not supported yet';
  }
  if ('internal_send_command' in client) return 'a client of the package redis before version 4';
  if (client.constructor?.name === 'RedisLegacyClient') return 'what client.legacy() answers';
  return undefined;
}
