import { hashPassword } from './password.js';
import type { User, UserClaims } from './user.js';

/** The users there are from the start. A Map: no name, `__proto__` included, finds more than these. */
export const SEEDS: ReadonlyMap<string, User> = new Map([
  seed('alice', { plan: 'free', role: 'member', tenant: 'acme' }),
  seed('bob', { plan: 'free', role: 'member', tenant: 'globex' }),
  seed('root', { plan: 'free', role: 'admin', tenant: 'acme' }),
]);

function seed(username: string, claims: UserClaims): [string, User] {
  return [username, { ...claims, passwordHash: hashPassword(`${username}-password`) }];
}
