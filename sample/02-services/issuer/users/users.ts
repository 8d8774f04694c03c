import { Inject, Injectable } from '@nestjs/common';
import type { Redis } from '../../../01-subscription/redis.js';
import { checkPassword } from '../../../01-subscription/users/password.js';
import type { UserChange, UserClaims } from '../../../01-subscription/users/user.js';
import { answered } from '../../shared/answered.js';
import { keyPrefix } from '../../shared/settings.js';
import { REDIS } from '../../shared/storage.module.js';
import { SEEDS, TENANTS } from './seeds.js';

/** The truth about the users: the seeds, and over them what was changed since, in Redis. */
@Injectable()
export class Users {
  private readonly shutTenants = `${keyPrefix()}shut-tenants`;

  constructor(@Inject(REDIS) private readonly redis: Redis) {}

  hasPassword(username: string, password: string): Promise<boolean> {
    return checkPassword(password, SEEDS.get(username)?.passwordHash);
  }

  /**
   * The claims source.
   *
   * @param chosen the tenant this session has chosen, which stands as long as it may
   * @returns `null` for a user who may hold no token: unknown, or with every tenant shut
   */
  async claimsOf(username: string, chosen: unknown): Promise<UserClaims | null> {
    const seed = SEEDS.get(username);
    if (!seed) return null;
    const [changes, open] = await Promise.all([
      answered(this.redis.hGetAll(keyOf(username))),
      this.openTenantsOf(username),
    ]);
    const tenant = open.find((name) => name === chosen) ?? open[0];
    if (tenant === undefined) return null;
    return { plan: seed.plan, role: seed.role, ...changes, tenant };
  }

  async mayEnter(username: string, tenant: string): Promise<boolean> {
    return (await this.openTenantsOf(username)).includes(tenant);
  }

  /** @returns whether there is such a user */
  async change(username: string, change: UserChange): Promise<boolean> {
    if (!SEEDS.has(username)) return false;
    await answered(this.redis.hSet(keyOf(username), change));
    return true;
  }

  /** @returns whether there is such a tenant */
  async shutTenant(tenant: string): Promise<boolean> {
    if (!TENANTS.has(tenant)) return false;
    await answered(this.redis.sAdd(this.shutTenants, tenant));
    return true;
  }

  private async openTenantsOf(username: string): Promise<string[]> {
    const shut = await answered(this.redis.sMembers(this.shutTenants));
    return (SEEDS.get(username)?.tenants ?? []).filter((name) => !shut.includes(name));
  }
}

function keyOf(username: string): string {
  return `${keyPrefix()}user:${username}`;
}
