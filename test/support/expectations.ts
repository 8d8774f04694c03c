import { expect } from '@jest/globals';
import type { JwtStateErrorCode } from 'nestjs-jwt-state';
import { expectNotReissued, expectReissued } from 'nestjs-jwt-state/testing';
import type { Reply } from './test-app.js';

const REASONS: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/** The answer to a request that was not let through, with the headers that belong to it. */
export function expectRefusal(reply: Reply, code: JwtStateErrorCode): void {
  const status = code === 'INVALID_REQUEST' ? 400 : isTemporary(code) ? 503 : 401;
  expect({ status: reply.status, ...reply.body }).toEqual({
    status,
    statusCode: status,
    code,
    message: expect.any(String),
    error: REASONS[status],
  });
  expect(reply.headers.get('www-authenticate')).toEqual(challengeOf(code));
  expect(reply.headers.get('jwt-state-error')).toBe(code);
  expect(reply.headers.get('retry-after')).toEqual(
    isTemporary(code) ? expect.stringMatching(/^[1-9]\d*$/) : null,
  );
  expect(reply.token).toBeUndefined();
}

/** The answer of the refresh route to a refresh token that it takes nothing for (RFC 6749 §5.2). */
export function expectNoGrant(
  reply: Reply,
  error: 'invalid_grant' | 'invalid_request' | 'unsupported_grant_type' = 'invalid_grant',
): void {
  expect({ status: reply.status, ...reply.body }).toEqual({
    status: 400,
    statusCode: 400,
    code: error === 'invalid_grant' ? 'INVALID_GRANT' : 'INVALID_REQUEST',
    message: expect.any(String),
    error,
  });
  expect(reply.headers.get('www-authenticate')).toBeNull();
  expect(reply.headers.get('jwt-state-error')).toBe(reply.body.code);
  expect(reply.headers.get('cache-control')).toBe('no-store');
  expect(reply.token).toBeUndefined();
}

function isTemporary(code: JwtStateErrorCode): boolean {
  return [
    'DENY_LIST_UNAVAILABLE',
    'CLAIMS_UNAVAILABLE',
    'KEYS_UNAVAILABLE',
    'TOO_MANY_SUCCESSORS',
  ].includes(code);
}

/** RFC 6750 §3: at least a realm; no error code where nothing was tried, no challenge where nothing is wrong. */
function challengeOf(code: JwtStateErrorCode): unknown {
  if (isTemporary(code)) return null;
  if (code === 'TOKEN_MISSING') return 'Bearer realm="api"';
  const error = code === 'INVALID_REQUEST' ? 'invalid_request' : 'invalid_token';
  return expect.stringMatching(
    new RegExp(
      `^Bearer realm="api", error="${error}"(, error_description="[^"]+")?, code="${code}"$`,
    ),
  );
}

/** Ran, with these claims; the response brings a token that says the same, which is returned. */
export function expectNewToken(reply: Reply, claims: Record<string, unknown>): string {
  expect(reply.status).toBeLessThan(300);
  const { accessToken } = expectReissued(reply, claims);
  expect(reply.token).toBe(accessToken);
  expect(reply.headers.get('cache-control')).toBe('no-store');
  return accessToken;
}

/** Ran, with these claims; the client keeps the token it has. */
export function expectNoNewToken(reply: Reply, claims: Record<string, unknown> = {}): void {
  expect({ status: reply.status, body: reply.body }).toMatchObject({ status: 200, body: claims });
  expectNotReissued(reply);
}
