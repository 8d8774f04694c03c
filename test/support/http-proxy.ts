import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { Latch } from './latch.js';

/** A request as it arrived. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** What happens to one request. */
type Fate = (seen: Seen, response: ServerResponse) => Promise<void>;

/** A way to a server on which answers get lost, come late, or come from somebody else. */
export class HttpProxy {
  readonly seen: Seen[] = [];
  private readonly fates: { path: string; fate: Fate }[] = [];

  private constructor(
    private readonly server: Server,
    private readonly target: string,
  ) {}

  static async to(target: string): Promise<HttpProxy> {
    const server = createServer();
    const proxy = new HttpProxy(server, target);
    server.on('request', (request, response) => void proxy.serve(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** How many requests there were to this path. */
  count(path: string): number {
    return this.seen.filter((one) => one.path === path).length;
  }

  /** The server answers the next request to this path, and nobody hears of it. */
  drop(path: string): void {
    this.add(path, async (seen, response) => {
      await this.forward(seen);
      response.destroy();
    });
  }

  /** The next request to this path is answered, and the answer waits on its way. */
  holdAnswer(path: string) {
    const [arrived, released] = [new Latch(`${path} is answered`), new Latch(`${path} goes on`)];
    this.add(path, async (seen, response) => {
      const answer = await this.forward(seen);
      arrived.open();
      await released.opened;
      reply(response, answer);
    });
    return { arrived: () => arrived.reached(), release: () => released.open() };
  }

  /** The next request to this path waits on its way. */
  holdRequest(path: string) {
    const [arrived, released] = [new Latch(`${path} is asked`), new Latch(`${path} goes on`)];
    this.add(path, async (seen, response) => {
      arrived.open();
      await released.opened;
      reply(response, await this.forward(seen));
    });
    return { arrived: () => arrived.reached(), release: () => released.open() };
  }

  /** The next request to this path is answered so, and the server does not hear of it. */
  answer(path: string, status: number, headers: Record<string, string>, body = ''): void {
    this.add(path, async (_seen, response) => {
      response.writeHead(status, headers).end(body);
    });
  }

  /** This happens before the next request to this path goes on. */
  before(path: string, happens: () => Promise<void>): void {
    this.add(path, async (seen, response) => {
      await happens();
      reply(response, await this.forward(seen));
    });
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private add(path: string, fate: Fate): void {
    this.fates.push({ path, fate });
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen: Seen = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: await textOf(request),
    };
    this.seen.push(seen);
    const index = this.fates.findIndex(({ path }) => path === seen.path);
    const [planned] = index < 0 ? [] : this.fates.splice(index, 1);
    try {
      if (planned) await planned.fate(seen, response);
      else reply(response, await this.forward(seen));
    } catch {
      response.destroy();
    }
  }

  private forward({ method, path, headers, body }: Seen): Promise<Forwarded> {
    return new Promise((resolve, reject) => {
      const { host: _, connection: __, ...rest } = headers;
      const onward = httpRequest(this.target + path, { method, headers: rest, agent: false });
      onward.on('error', reject);
      onward.on('response', async (answer) => {
        resolve({
          status: answer.statusCode ?? 502,
          headers: answer.rawHeaders,
          body: await textOf(answer),
        });
      });
      onward.end(body);
    });
  }
}

interface Forwarded {
  readonly status: number;
  readonly headers: string[];
  readonly body: string;
}

function reply(response: ServerResponse, { status, headers, body }: Forwarded): void {
  response.writeHead(status, headers).end(body);
}

async function textOf(stream: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
