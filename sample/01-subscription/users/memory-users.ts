import { SEEDS } from './seeds.js';
import type { User, UserChange } from './user.js';
import { Users } from './users.js';

export class MemoryUsers extends Users {
  private readonly users = new Map(SEEDS);

  protected async find(username: string): Promise<User | undefined> {
    return this.users.get(username);
  }

  async change(username: string, change: UserChange): Promise<boolean> {
    const user = this.users.get(username);
    if (user) this.users.set(username, { ...user, ...change });
    return user !== undefined;
  }
}
