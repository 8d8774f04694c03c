import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';

/*
 * Express hands out Node's own request and response, Fastify wraps them in an object with `raw`.
 * What this module reads and writes is on Node's, so neither framework is imported.
 */

export type AnyRequest = (IncomingMessage | { raw: IncomingMessage }) & {
  headers?: IncomingHttpHeaders;
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

/** Nest calls whatever names no type of its own `http`: a job of a queue, a message of a bot. */
export function isHttpRequest(value: unknown): value is AnyRequest {
  return typeof value === 'object' && value !== null && 'headers' in value;
}

export function isHttpResponse(value: unknown): value is AnyResponse {
  if (typeof value !== 'object' || value === null) return false;
  const raw: unknown = 'raw' in value ? value.raw : value;
  return typeof (raw as ServerResponse | undefined)?.setHeader === 'function';
}

/** For a token endpoint: neither an answer nor a refusal may be kept (RFC 6749 §5.1 and §5.2). */
export function forbidStoring(response: AnyResponse): void {
  const raw = rawResponse(response);
  raw.setHeader('Cache-Control', 'no-store');
  raw.setHeader('Pragma', 'no-cache');
}
