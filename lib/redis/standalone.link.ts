import { createClient } from '@redis/client';
import type { ServerListener } from '../deny-list/native-store.js';
import type { RedisServerOptions } from './redis-deny-list.options.js';
import {
  closeInTime,
  type LinkCommands,
  type LinkListener,
  type RedisLink,
  reconnectPause,
  type ServerCommands,
} from './redis-link.js';
import type { Tracking } from './tracking.js';

export interface LinkSettings {
  readonly commandsQueueMaxLength: number;
  /** Absent: no near copy. */
  readonly tracking: Tracking | undefined;
  /** How long one of several servers may take, in ms; absent: as long as the caller waits. */
  readonly deadline: number | undefined;
  /** Hears which of several servers cannot be had. */
  readonly servers: ServerListener | undefined;
}

/** What every connection of ours has in common, however its server was found. */
export function clientSettings(
  given: { socket?: object | undefined; RESP?: 2 | 3 | undefined } | undefined,
  { commandsQueueMaxLength, tracking }: Pick<LinkSettings, 'commandsQueueMaxLength' | 'tracking'>,
) {
  return {
    ...given,
    // News between the answers is a part of RESP3 only.
    ...(tracking && { RESP: 3 as const }),
    // A command that waits for a connection would take effect after its caller was told it failed.
    disableOfflineQueue: true,
    commandsQueueMaxLength,
    // Moves a live connection to another server, and no news comes from that one.
    maintNotifications: 'disabled' as const,
    socket: { reconnectStrategy: reconnectPause, ...given?.socket },
  };
}

/** One server, or one address behind which the provider keeps one. */
export class StandaloneLink implements RedisLink {
  readonly isCluster = false;
  readonly isOrdered = true;
  readonly commands: LinkCommands;
  private readonly client;

  constructor(options: RedisServerOptions, settings: LinkSettings, listener: LinkListener) {
    const { tracking } = settings;
    this.client = createClient({
      ...clientSettings(options, settings),
      ...(tracking && { clientSideCache: tracking }),
    } as Parameters<typeof createClient>[0]);
    this.client.on('ready', () => listener.up());
    this.client.on('error', (error) => {
      // Also of answers that made no sense: what came after them may have been news.
      tracking?.onError();
      listener.down(error);
    });
    this.commands = this.client as unknown as LinkCommands;
  }

  get patientCommands(): LinkCommands {
    return this.commands;
  }

  async connect(): Promise<void> {
    await this.client.connect();
  }

  close(): Promise<void> {
    return closeInTime(this.client);
  }

  async servers(): Promise<ServerCommands[]> {
    return [this.client as unknown as ServerCommands];
  }
}
