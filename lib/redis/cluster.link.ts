import { createCluster } from '@redis/client';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { RedisClusterSettings } from './redis-deny-list.options.js';
import {
  closeInTime,
  keepTrying,
  type LinkCommands,
  type LinkListener,
  type RedisLink,
  type ServerCommands,
} from './redis-link.js';
import { clientSettings, type LinkSettings } from './standalone.link.js';

/** The masters of a cluster; each key lies on one of them. */
export class ClusterLink implements RedisLink {
  readonly isCluster = true;
  readonly isOrdered = false;
  readonly commands: LinkCommands;
  private readonly client;
  private isClosed = false;

  constructor(
    options: RedisClusterSettings,
    settings: LinkSettings,
    private readonly listener: LinkListener,
  ) {
    if ('useReplicas' in options && options.useReplicas) {
      throw new JwtStateConfigError(
        'cluster.useReplicas must not be set: a replica may not know of the latest revocation.',
      );
    }
    this.client = createCluster({
      ...options,
      defaults: clientSettings(options.defaults, settings),
    } as Parameters<typeof createCluster>[0]);
    this.client.on('error', (error) => listener.down(error));
    this.client.on('node-error', (error) => listener.down(error));
    // A shard is back, or another server has taken its place.
    this.client.on('node-ready', () => this.client.isOpen && listener.up());
    this.commands = this.client as unknown as LinkCommands;
  }

  async connect(): Promise<void> {
    await keepTrying(
      () => this.client.connect(),
      () => this.isClosed,
      (cause) => this.listener.down(cause),
    );
    if (!this.isClosed) this.listener.up();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await closeInTime(this.client);
  }

  async servers(): Promise<ServerCommands[]> {
    const { client } = this;
    const nodes = await Promise.all(client.masters.map((master) => client.nodeClient(master)));
    return nodes as unknown as ServerCommands[];
  }
}
