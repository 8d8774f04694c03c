import { createSentinel } from '@redis/client';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { type Address, MasterWatch } from './master-watch.js';
import type { RedisSentinelSettings } from './redis-deny-list.options.js';
import {
  closeInTime,
  keepTrying,
  type LinkCommands,
  type LinkListener,
  type RedisLink,
  type ServerCommands,
} from './redis-link.js';
import { clientSettings, type LinkSettings } from './standalone.link.js';

/**
 * The master that Sentinel names. One connection, so that answers and news come in order, and never
 * a replica: it may lag behind, and would not know of the latest revocation.
 */
export class SentinelLink implements RedisLink {
  readonly isCluster = false;
  readonly isOrdered = true;
  readonly commands: LinkCommands;
  private readonly client;
  private readonly watch: MasterWatch;
  /** As Sentinel says it; the client may know it by another address. */
  private master: Address | undefined;
  private isClosed = false;

  constructor(
    options: RedisSentinelSettings,
    settings: LinkSettings,
    private readonly listener: LinkListener,
  ) {
    refuseSeveral('masterPoolSize', options.masterPoolSize, 1);
    refuseSeveral('replicaPoolSize', options.replicaPoolSize, 0);
    const { tracking } = settings;
    const { RESP, disableOfflineQueue, ...node } = clientSettings(
      options.nodeClientOptions,
      settings,
    );
    this.client = createSentinel({
      ...options,
      ...(RESP && { RESP }),
      nodeClientOptions: { ...node, disableOfflineQueue },
      ...(tracking && { clientSideCache: tracking }),
    } as Parameters<typeof createSentinel>[0]);
    this.client.on('error', (error) => listener.down(error));
    this.client.on('client-error', ({ type, error }: { type: string; error: unknown }) => {
      if (type === 'MASTER') listener.down(error);
    });
    this.client.on('topology-change', ({ type, node: { host, port } = NOBODY }: TopologyChange) => {
      if (type !== 'MASTER_CHANGE') return;
      this.master = `${host}:${port}`;
      setImmediate(() => this.masterChanged());
    });
    this.watch = new MasterWatch(
      options,
      () => (this.client.isReady ? this.master : undefined),
      () => listener.outdated('Sentinel names another master'),
    );
    this.commands = this.client as unknown as LinkCommands;
  }

  get patientCommands(): LinkCommands {
    return this.commands;
  }

  async connect(): Promise<void> {
    await keepTrying(
      () => this.client.connect(),
      () => this.isClosed,
      (cause) => this.listener.down(cause),
    );
    if (this.isClosed) return;
    this.listener.up();
    this.watch.start();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.watch.stop();
    await closeInTime(this.client);
  }

  async servers(): Promise<ServerCommands[]> {
    return [this.client as unknown as ServerCommands];
  }

  /** The first one is told by {@link connect}. */
  private masterChanged(): void {
    if (this.client.isReady) this.listener.up();
  }
}

interface TopologyChange {
  readonly type: string;
  readonly node?: { readonly host: string; readonly port: number };
}

const NOBODY = { host: '', port: 0 };

function refuseSeveral(name: string, given: number | undefined, only: number): void {
  if (given === undefined || given === only) return;
  throw new JwtStateConfigError(
    `sentinel.${name} must be ${only}: the deny list is read from the master, over one connection.`,
  );
}
