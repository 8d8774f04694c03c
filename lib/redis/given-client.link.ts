import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { LinkCommands, LinkListener, RedisLink, ServerCommands } from './redis-link.js';

/** A client that the application has made, connects and closes. */
export class GivenClientLink implements RedisLink {
  readonly commands: LinkCommands;
  readonly isCluster: boolean;

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
