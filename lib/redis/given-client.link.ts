import { hasOneConnection } from '../deny-list/one-connection.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { LinkCommands, LinkListener, RedisLink, ServerCommands } from './redis-link.js';

/** A client that the application has made, connects and closes. */
export class GivenClientLink implements RedisLink {
  readonly commands: LinkCommands;
  readonly isCluster: boolean;
  readonly isOrdered: boolean;

  constructor(
    client: object,
    private readonly listener: LinkListener,
  ) {
    const commands = client as LinkCommands;
    if (typeof commands?.set !== 'function' || typeof commands.eval !== 'function') {
      throw new JwtStateConfigError('redisDenyList: `client` is not a client of @redis/client.');
    }
    this.commands = commands;
    this.isCluster = 'nodeByAddress' in client;
    this.isOrdered = !this.isCluster && hasOneConnection(client);
    refuseReplicas(client);
  }

  get patientCommands(): LinkCommands {
    return this.commands;
  }

  async connect(): Promise<void> {
    if (this.commands.isOpen) this.listener.up();
    else this.listener.down(new Error('The client that was given is not connected.'));
  }

  async close(): Promise<void> {}

  async servers(): Promise<ServerCommands[]> {
    // Of a cluster only its owner knows how to reach each server.
    return this.isCluster ? [] : [this.commands as unknown as ServerCommands];
  }
}

/**
 * A replica may not know of the latest revocation. Where a client reads is told by what is seen of it: a
 * cluster has kept its options; one for Sentinel knows its replicas once it is connected.
 */
function refuseReplicas(client: object): void {
  const { _options, getReplicaNodes } = client as {
    _options?: { useReplicas?: boolean };
    getReplicaNodes?(): ReadonlyMap<unknown, unknown>;
  };
  const hasReplicas = (getReplicaNodes?.call(client).size ?? 0) > 0;
  if (!_options?.useReplicas && !hasReplicas) return;
  throw new JwtStateConfigError(
    'redisDenyList: the `client` reads from replicas, which may not know of the latest revocation. Make it ' +
      'without `useReplicas`, and with `replicaPoolSize: 0`.',
  );
}
