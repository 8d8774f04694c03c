import { Agent, request as httpRequest } from 'node:http';

/** Longer than anything under test may take. */
const PATIENCE_MS = 15_000;

export interface Reply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly body: any;
  readonly retryAfter: string | undefined;
  /** The token that the response brought. */
  readonly token: string | undefined;
}

/** What callers of a service are as a rule: others with connections that stay open. */
export class KeepAliveClient {
  private readonly agent: Agent;

  constructor(
    private readonly url: string,
    connections: number,
  ) {
    this.agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: 'fifo' });
  }

  send(
    method: 'GET' | 'POST',
    path: string,
    { token, body }: { token?: string | undefined; body?: object } = {},
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const request = httpRequest(this.url + path, {
        method,
        agent: this.agent,
        headers: {
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body && { 'content-type': 'application/json' }),
        },
      });
      request.setTimeout(PATIENCE_MS, () => request.destroy(new Error('It was never answered.')));
      request.on('error', reject);
      request.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('error', reject);
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => {
          const { authorization, 'retry-after': retryAfter } = response.headers;
          resolve({
            status: response.statusCode ?? 0,
            body: text === '' ? undefined : JSON.parse(text),
            retryAfter,
            token: /^Bearer (.+)$/.exec(authorization ?? '')?.[1],
          });
        });
      });
      request.end(body && JSON.stringify(body));
    });
  }

  close(): void {
    this.agent.destroy();
  }
}
