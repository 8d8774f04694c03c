import { randomBytes, scrypt, scryptSync, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const LENGTH = 32;
const derive = promisify<string, string, number, Buffer>(scrypt);

/** `<salt>.<hash>` */
export function hashPassword(password: string): string {
  const salt = randomBytes(16).toString('base64url');
  return `${salt}.${scryptSync(password, salt, LENGTH).toString('base64url')}`;
}

/** Takes as long for an unknown user as for a known one. */
export async function checkPassword(password: string, stored = NOBODY): Promise<boolean> {
  const [salt = '', hash = ''] = stored.split('.');
  const expected = Buffer.from(hash, 'base64url');
  const matches = timingSafeEqual(await derive(password, salt, LENGTH), expected);
  return matches && stored !== NOBODY;
}

const NOBODY = hashPassword('');
