import type { IncomingMessage, ServerResponse } from 'node:http';

/*
 * Express hands out Node's own request and response, Fastify wraps them in an object with `raw`.
 * What this module reads and writes is on Node's, so neither framework is imported.
 */

export type AnyRequest = (IncomingMessage | { raw: IncomingMessage }) & {
  user?: unknown;
  body?: unknown;
};
export type AnyResponse = ServerResponse | { raw: ServerResponse };

export function rawRequest(request: AnyRequest): IncomingMessage {
  return 'raw' in request ? request.raw : request;
}

export function rawResponse(response: AnyResponse): ServerResponse {
  return 'raw' in response ? response.raw : response;
}
