import { createClient, type RedisSentinelOptions } from '@redis/client';
import { withDeadline } from '../deny-list/with-deadline.js';

const LOOK_EVERY_MS = 1_000;
/** So long a Sentinel may take, in ms; then the next one is asked. */
const ANSWER_WITHIN_MS = 1_000;
/** So often in a row it must be another one: the client is told of a failover, too, and may be on its way. */
const TIMES = 2;

type Asked = Pick<
  RedisSentinelOptions,
  'name' | 'sentinelRootNodes' | 'sentinelClientOptions' | 'nodeAddressMap'
>;
type SentinelClient = ReturnType<typeof createClient>;

/** `host:port`, as Sentinel says it. */
export type Address = string;

/**
 * Asks the Sentinels now and then who the master is. The client of @redis/client subscribes to that news, but
 * does not subscribe again to a Sentinel whose connection was lost. It would go on with the old master after a
 * failover, and hear of no revocation that the new one confirms.
 */
export class MasterWatch {
  private timer: NodeJS.Timeout | undefined;
  private client: SentinelClient | undefined;
  private next = 0;
  private isAsking = false;
  private differed = 0;

  /**
   * @param used the master that is used; `undefined`: none now
   * @param noticed the Sentinels name another one
   */
  constructor(
    private readonly options: Asked,
    private readonly used: () => Address | undefined,
    private readonly noticed: () => void,
  ) {}

  start(): void {
    this.timer ??= setInterval(() => void this.look(), LOOK_EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.giveUp();
  }

  private async look(): Promise<void> {
    if (this.isAsking || this.used() === undefined) return;
    this.isAsking = true;
    try {
      const named = await withDeadline(this.ask(), ANSWER_WITHIN_MS);
      const differs = named !== undefined && this.used() !== undefined && named !== this.used();
      this.differed = differs ? this.differed + 1 : 0;
    } catch {
      this.giveUp();
    } finally {
      this.isAsking = false;
    }
    if (this.differed < TIMES || this.timer === undefined) return;
    this.differed = 0;
    this.noticed();
  }

  private async ask(): Promise<Address | undefined> {
    this.client ??= this.create();
    const { client } = this;
    if (!client.isOpen) await client.connect();
    const answer = await client.sendCommand([
      ...['SENTINEL', 'GET-MASTER-ADDR-BY-NAME'],
      this.options.name,
    ]);
    return Array.isArray(answer) ? answer.map(String).join(':') : undefined;
  }

  private create(): SentinelClient {
    const { sentinelRootNodes, sentinelClientOptions, nodeAddressMap } = this.options;
    const { host, port } = sentinelRootNodes[this.next++ % sentinelRootNodes.length] as Node;
    const name: Address = `${host}:${port}`;
    const mapped =
      typeof nodeAddressMap === 'function' ? nodeAddressMap(name) : nodeAddressMap?.[name];
    const client = createClient({
      ...sentinelClientOptions,
      disableOfflineQueue: true,
      socket: { ...sentinelClientOptions?.socket, ...(mapped ?? { host, port }), ...ONCE },
    } as Parameters<typeof createClient>[0]);
    client.on('error', () => {}); // the next one is asked
    return client as SentinelClient;
  }

  private giveUp(): void {
    this.client?.destroy();
    this.client = undefined;
  }
}

type Node = { host: string; port: number };

/** Not tried again: there are other Sentinels. */
const ONCE = { reconnectStrategy: false, connectTimeout: ANSWER_WITHIN_MS } as const;
