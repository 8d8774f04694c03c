import { createCluster } from '@redis/client';
import { withDeadline } from '../deny-list/with-deadline.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { slotOf } from './key-slot.js';
import type { RedisClusterSettings } from './redis-deny-list.options.js';
import {
  closeInTime,
  keepTrying,
  type LinkCommands,
  type LinkListener,
  type RedisLink,
  type ServerCommands,
} from './redis-link.js';
import { Shard } from './shard.js';
import { clientSettings, type LinkSettings } from './standalone.link.js';

/** So long an attempt to reach all masters may take, in ms: one that is lost may have a successor by then. */
const CONNECT_WITHIN_MS = 5_000;
/** So long a server that is asked who the masters are may say nothing, in ms. */
const DISCOVER_WITHIN_MS = 1_000;

type Cluster = ReturnType<typeof createCluster>;

/** The masters of a cluster; each key lies on one of them. */
export class ClusterLink implements RedisLink {
  readonly isCluster = true;
  readonly isOrdered = false;
  readonly commands: LinkCommands;
  readonly patientCommands: LinkCommands;
  private client: Cluster | undefined;
  /** One that is being connected. */
  private attempted: Cluster | undefined;
  /** By address, since there is one connection to each. */
  private readonly shards = new Map<string, Shard>();
  private isClosed = false;
  private isReplacing = false;

  constructor(
    private readonly options: RedisClusterSettings,
    private readonly settings: LinkSettings,
    private readonly listener: LinkListener,
  ) {
    if ('useReplicas' in options && options.useReplicas) {
      throw new JwtStateConfigError(
        'cluster.useReplicas must not be set: a replica may not know of the latest revocation.',
      );
    }
    this.commands = this.commandsByKey((shard, send) => shard.ask(send));
    this.patientCommands = this.commandsByKey((shard, send) => shard.askPatiently(send));
  }

  async connect(): Promise<void> {
    await keepTrying(
      async () => this.use(await this.attempt()),
      () => this.isClosed,
      (cause) => this.listener.down(cause),
    );
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.forgetShards();
    this.attempted?.destroy();
    if (this.client) await closeInTime(this.client);
  }

  async servers(): Promise<ServerCommands[]> {
    const client = this.connected();
    const nodes = await Promise.all(client.masters.map((master) => client.nodeClient(master)));
    return nodes as unknown as ServerCommands[];
  }

  // --- one server and the others -------------------------------------------------------------

  private commandsByKey(
    ask: <T>(shard: Shard, send: () => Promise<T>) => Promise<T>,
  ): LinkCommands {
    const at = <T>(key: string, send: (commands: LinkCommands) => Promise<T>) => {
      const client = this.connected();
      return ask(this.shardOf(client, key), () => send(client as unknown as LinkCommands));
    };
    const link = this;
    return {
      get isOpen() {
        return link.client !== undefined;
      },
      get: async (key) => at(key, (commands) => commands.get(key)),
      set: async (key, ...rest) => at(key, (commands) => commands.set(key, ...rest)),
      del: async (key) => at(key, (commands) => commands.del(key)),
      eval: async (script, options) =>
        at(options.keys[0] ?? '', (commands) => commands.eval(script, options)),
    };
  }

  private connected(): Cluster {
    if (this.client) return this.client;
    throw new Error('The Redis cluster is not connected.');
  }

  private shardOf({ slots }: Cluster, key: string): Shard {
    const address = slots[slotOf(hashTagOf(key))]?.master.address ?? '';
    const known = this.shards.get(address);
    if (known) return known;
    const { deadline, servers } = this.settings;
    const shard = new Shard(deadline, servers, () => this.replace());
    this.shards.set(address, shard);
    return shard;
  }

  private forgetShards(): void {
    for (const shard of this.shards.values()) shard.stop();
    this.shards.clear();
  }

  // --- connecting ----------------------------------------------------------------------------

  /**
   * The client waits for every master for as long as it takes, also for one that is dead and has a
   * successor by now. So each attempt is a client of its own, and ends.
   */
  private async attempt(): Promise<Cluster> {
    const client = this.create();
    this.attempted = client;
    const connecting = client.connect();
    try {
      await withDeadline(connecting, CONNECT_WITHIN_MS);
      return client;
    } catch (error) {
      // A server that hangs may answer later, and the client would go on from there.
      connecting.then(
        () => client.destroy(),
        () => client.destroy(),
      );
      client.destroy();
      throw error;
    }
  }

  private create(): Cluster {
    const { rootNodes, defaults } = this.options;
    const client = createCluster({
      ...this.options,
      rootNodes: rootNodes.map((node) => ({
        ...node,
        socket: { socketTimeout: DISCOVER_WITHIN_MS, ...node.socket },
      })),
      defaults: clientSettings(defaults, this.settings),
    } as Parameters<typeof createCluster>[0]);
    const isOurs = () => this.client === client || this.client === undefined;
    const down = (error: unknown) => isOurs() && this.listener.down(error);
    client.on('error', down);
    client.on('node-error', down);
    // A shard is back, or another server has taken its place.
    client.on('node-ready', () => this.client === client && this.listener.up());
    return client as Cluster;
  }

  private use(client: Cluster): void {
    const before = this.client;
    if (this.isClosed) {
      client.destroy();
      return;
    }
    this.client = client;
    this.forgetShards();
    this.listener.up();
    if (before) void closeInTime(before);
  }

  /**
   * Where a server leaves everything unanswered: its connection may be dead, or a replica may have its
   * place, of which nobody tells. The others are asked over the old connections until there are new ones.
   */
  private replace(): void {
    if (this.isReplacing || this.isClosed) return;
    this.isReplacing = true;
    this.attempt()
      .then((client) => this.use(client))
      .catch(() => {}) // it hangs still; the next time, then
      .finally(() => {
        this.isReplacing = false;
      });
  }
}

/** What decides about the slot of a key. */
function hashTagOf(key: string): string {
  return /^[^{]*\{([^}]+)\}/.exec(key)?.[1] ?? key;
}
