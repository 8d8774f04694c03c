import { StreamableFile } from '@nestjs/common';
import { type AnyResponse, rawResponse } from './raw-http.js';
import type { StagedDelivery } from './staged-deliveries.js';

type Send = (body?: unknown, ...rest: unknown[]) => unknown;

/**
 * Adds the token to a JSON object on its way out, as a field. Lists, streams, texts and empty
 * answers stay as they are: they have no place for it. Errors do, but end up in logs.
 */
export function addToBody(response: AnyResponse, field: string, delivery: StagedDelivery): void {
  // Nest answers objects through `json` on Express and `send` on Fastify.
  const method = 'raw' in response ? 'send' : 'json';
  const target = response as unknown as Record<string, Send>;
  const original = target[method];
  if (!original) return;
  target[method] = (body, ...rest) => {
    const { issued, origin } = delivery;
    const { statusCode } = rawResponse(response);
    const isWanted = issued !== undefined && origin === 'header';
    const answer =
      isWanted && hasPlaceForToken(body, statusCode)
        ? { ...body, [field]: issued.accessToken }
        : body;
    return original.call(response, answer, ...rest);
  };
}

/** Whether this is answered as a JSON object of fields, and is no error. */
export function hasPlaceForToken(
  body: unknown,
  statusCode: number,
): body is Record<string, unknown> {
  if (statusCode >= 300 || statusCode === 204 || statusCode === 205) return false;
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return false;
  if (body instanceof StreamableFile || ArrayBuffer.isView(body)) return false;
  if ('pipe' in body || 'getReader' in body) return false;
  // What brings its own JSON form (a date, an IssuedToken) is not an object of fields.
  return typeof (body as { toJSON?: unknown }).toJSON !== 'function';
}
