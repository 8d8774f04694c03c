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
    const isError = rawResponse(response).statusCode >= 400;
    const isWanted = origin === 'header' && !isError && isPlainObject(body);
    const answer = issued && isWanted ? { ...body, [field]: issued.accessToken } : body;
    return original.call(response, answer, ...rest);
  };
}

/** What is answered as a JSON object of fields. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  if (ArrayBuffer.isView(value) || 'pipe' in value || 'getReader' in value) return false;
  // What brings its own JSON form (a date, an IssuedToken) is not an object of fields.
  return typeof (value as { toJSON?: unknown }).toJSON !== 'function';
}
