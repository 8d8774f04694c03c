import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * Lies between a service and its Redis and counts round trips: how often the service spoke after
 * Redis did. Commands that leave together are one, whatever library sent them.
 */
export class RoundTrips {
  count = 0;
  private readonly sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {}

  static async before(port: number): Promise<RoundTrips> {
    const server = createServer({ noDelay: true });
    const trips = new RoundTrips(server);
    server.on('connection', (client) => trips.connect(client, port));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return trips;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private connect(client: Socket, port: number): void {
    const redis = connect({ port, host: '127.0.0.1', noDelay: true });
    let isOnTheWay = false;
    client.on('data', (chunk) => {
      if (!isOnTheWay) this.count += 1;
      isOnTheWay = true;
      redis.write(chunk);
    });
    redis.on('data', (chunk) => {
      isOnTheWay = false;
      client.write(chunk);
    });
    for (const [one, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      this.sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        this.sockets.delete(one);
        other.destroy();
      });
    }
  }
}
