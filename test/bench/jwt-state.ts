import { randomUUID } from 'node:crypto';
import type { Cache } from 'cache-manager';
import type { JwtStateOptions, TokenService } from 'nestjs-jwt-state';
import type { BenchKeys } from './keys.js';

const AT_ONCE = 16;

/** The module's options in all benchmarks: the defaults, but for tokens that outlive a run. */
export function optionsOf(keys: BenchKeys, cache: Cache | undefined): JwtStateOptions {
  const { algorithm, sign } = keys;
  return {
    keys: algorithm === 'HS256' ? { algorithm, secret: sign } : { algorithm, privateKey: sign },
    accessToken: { expiresIn: '2h' },
    claims: () => ({ username: 'somebody', plan: 'premium' }),
    // A busy machine is not an outage.
    denyList: { lookupTimeout: '5s', ...(cache && { cache }) },
  };
}

export async function issueMany(tokens: TokenService, count: number): Promise<string[]> {
  const issued: string[] = [];
  while (issued.length < count) {
    const size = Math.min(AT_ONCE, count - issued.length);
    const batch = Array.from({ length: size }, (_, index) =>
      tokens.issue(`user-${issued.length + index}`),
    );
    for (const { accessToken } of await Promise.all(batch)) issued.push(accessToken);
  }
  return issued;
}

/** Revokes so many sessions, one by one, as an application would. */
export async function fillThrough(tokens: TokenService, count: number): Promise<void> {
  for (let index = 0; index < count; index++) await tokens.revoke({ sid: randomUUID() });
}
