import { hashPassword } from '../../../01-subscription/users/password.js';
import type { UserClaims } from '../../../01-subscription/users/user.js';

export interface Seed extends Pick<UserClaims, 'plan' | 'role'> {
  readonly passwordHash: string;
  /** Whose member the user is; a session begins in the first one that is open. */
  readonly tenants: readonly string[];
}

/** The users there are. A Map: no name, `__proto__` included, finds more than these. */
export const SEEDS: ReadonlyMap<string, Seed> = new Map([
  seed('alice', { plan: 'free', role: 'member', tenants: ['acme', 'globex'] }),
  seed('bob', { plan: 'free', role: 'member', tenants: ['globex'] }),
  seed('root', { plan: 'free', role: 'admin', tenants: ['operations'] }),
]);

export const TENANTS: ReadonlySet<string> = new Set(
  [...SEEDS.values()].flatMap(({ tenants }) => tenants),
);

function seed(username: string, rest: Omit<Seed, 'passwordHash'>): [string, Seed] {
  return [username, { ...rest, passwordHash: hashPassword(`${username}-password`) }];
}
