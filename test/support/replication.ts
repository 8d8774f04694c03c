import { createClient } from '@redis/client';
import { withDeadline } from '../../lib/deny-list/with-deadline.js';
import type { RedisServer } from './redis-server.js';

type Client = ReturnType<typeof createClient>;

const REPLICATED_WITHIN_MS = 500;

/** Knows whether what masters have confirmed so far is on their replicas, too. */
export class Replication {
  private isOver = false;

  private constructor(private readonly groups: readonly (readonly Client[])[]) {}

  /** @param groups of a master and its replicas, whichever is which */
  static async of(groups: readonly (readonly RedisServer[])[]): Promise<Replication> {
    return new Replication(
      await Promise.all(groups.map((group) => Promise.all(group.map((server) => connect(server))))),
    );
  }

  /** @throws where a replica does not have it, or nobody says so */
  readonly assure = async (): Promise<void> => {
    if (this.isOver) return;
    const all = this.groups.map((group) => Promise.any(group.map(untilReplicated)));
    await withDeadline(Promise.all(all), 2 * REPLICATED_WITHIN_MS);
  };

  /** The replica has taken over: nothing that is confirmed from now on can be lost by that. */
  end(): void {
    this.isOver = true;
    for (const client of this.groups.flat()) client.destroy();
  }
}

async function connect({ url }: RedisServer): Promise<Client> {
  const client = createClient({ url, disableOfflineQueue: true });
  client.on('error', () => {});
  await client.connect();
  return client as Client;
}

/** Rejects for a replica, and for a master that has none. */
async function untilReplicated(client: Client): Promise<void> {
  // WAIT speaks of what the server had written at this connection's last command.
  await client.ping();
  const reached = await client.wait(1, REPLICATED_WITHIN_MS);
  if (reached < 1) throw new Error('No replica has it.');
}
