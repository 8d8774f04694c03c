import { randomBytes } from 'node:crypto';
import { Logger } from '@nestjs/common';
import type { Duration } from 'nestjs-jwt-state';

/** The secret that signs the tokens; one for this run where none is set. */
export function jwtSecret(): string {
  const { JWT_SECRET } = process.env;
  if (JWT_SECRET) return JWT_SECRET;
  new Logger('Settings').warn(
    'JWT_SECRET is not set: signing with a random secret. Tokens end with this process, and other ' +
      'processes do not accept them.',
  );
  return randomBytes(48).toString('base64url');
}

/** `undefined` leaves it to the module's default. The module checks the value at boot. */
export function gracePeriod(): Duration | undefined {
  return (process.env.REISSUE_GRACE || undefined) as Duration | undefined;
}

/** `undefined`: users and deny list are kept in memory. */
export function redisUrl(): string | undefined {
  const url = process.env.REDIS_URL || undefined;
  if (url === undefined || /^rediss?:\/\/./.test(url)) return url;
  throw new Error('REDIS_URL must look like redis://127.0.0.1:6379.');
}
