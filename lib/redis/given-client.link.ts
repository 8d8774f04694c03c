import { setTimeout as sleep } from 'node:timers/promises';
import { hasOneConnection } from '../deny-list/one-connection.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import {
  type LinkCommands,
  LinkDownError,
  type LinkListener,
  type RedisLink,
  reconnectPause,
  type ServerCommands,
} from './redis-link.js';

/** A client that the application has made, connects and closes. */
export class GivenClientLink implements RedisLink {
  readonly commands: LinkCommands;
  readonly isCluster: boolean;
  readonly isOrdered: boolean;
  private isClosed = false;

  constructor(
    client: object,
    private readonly listener: LinkListener,
  ) {
    this.commands = client as LinkCommands;
    this.isCluster = 'nodeByAddress' in client;
    this.isOrdered = !this.isCluster && hasOneConnection(client);
    refuseReplicas(client);
  }

  get patientCommands(): LinkCommands {
    return this.commands;
  }

  async connect(): Promise<void> {
    if (!this.commands.isOpen) {
      this.listener.down(new LinkDownError('the `client` that was passed is not connected'));
    }
    // Its kinds tell of a connection by different events, or by none.
    for (let count = 0; !this.isConnected && !this.isClosed; count++) {
      await sleep(reconnectPause(count), undefined, { ref: false });
    }
    if (!this.isClosed) this.listener.up();
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  /** A client is open while it still connects; not every kind says when it is ready. */
  private get isConnected(): boolean {
    const { isReady, isOpen } = this.commands as LinkCommands & { readonly isReady?: boolean };
    return isReady ?? isOpen;
  }

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
