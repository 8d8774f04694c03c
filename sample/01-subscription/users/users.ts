import { checkPassword } from './password.js';
import type { User, UserChange, UserClaims } from './user.js';

/** The application's own truth about its users; the tokens follow it. */
export abstract class Users {
  protected abstract find(username: string): Promise<User | undefined>;

  /** @returns whether there is such a user */
  abstract change(username: string, change: UserChange): Promise<boolean>;

  async hasPassword(username: string, password: string): Promise<boolean> {
    const user = await this.find(username);
    return checkPassword(password, user?.passwordHash);
  }

  /** The claims source: what this user's token should say now, `null` when there is no such user. */
  async claimsOf(username: string): Promise<UserClaims | null> {
    const user = await this.find(username);
    return user ? { plan: user.plan, role: user.role, tenant: user.tenant } : null;
  }
}
