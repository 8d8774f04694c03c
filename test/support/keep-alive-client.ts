import { Agent } from 'node:http';
import { type Answer, requestJson } from './json-request.js';

export type Reply = Answer;

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
    const question = { token, body: body && JSON.stringify(body) };
    return requestJson(method, this.url + path, question, this.agent);
  }

  close(): void {
    this.agent.destroy();
  }
}
