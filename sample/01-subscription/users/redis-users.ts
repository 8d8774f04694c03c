import { ServiceUnavailableException } from '@nestjs/common';
import type { Redis } from '../redis.js';
import { SEEDS } from './seeds.js';
import type { User, UserChange } from './user.js';
import { Users } from './users.js';

const DEADLINE_MS = 500;

/** One hash for each user. Every transaction seeds what is missing first, so a flush heals itself. */
export class RedisUsers extends Users {
  constructor(private readonly redis: Redis) {
    super();
  }

  protected async find(username: string): Promise<User | undefined> {
    const transaction = this.seeded(username)?.hGetAll(keyOf(username));
    if (!transaction) return undefined;
    const replies = await answered(transaction.exec());
    return replies.at(-1) as unknown as User;
  }

  async change(username: string, change: UserChange): Promise<boolean> {
    const transaction = this.seeded(username)?.hSet(keyOf(username), change);
    if (!transaction) return false;
    await answered(transaction.exec());
    return true;
  }

  private seeded(username: string) {
    const seed = SEEDS.get(username);
    if (!seed) return undefined;
    // Transactions would wait for the connection: `disableOfflineQueue` is for single commands.
    if (!this.redis.isReady) throw new ServiceUnavailableException('The users cannot be reached.');
    const transaction = this.redis.multi();
    for (const [field, value] of Object.entries(seed)) {
      transaction.hSetNX(keyOf(username), field, value);
    }
    return transaction;
  }
}

function keyOf(username: string): string {
  return `sample:user:${username}`;
}

/** No client bounds a command that was sent to a server which then hangs. */
async function answered<T>(reply: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('No answer in time.')), DEADLINE_MS);
  });
  try {
    return await Promise.race([reply, deadline]);
  } catch (cause) {
    throw new ServiceUnavailableException('The users cannot be reached.', { cause });
  } finally {
    clearTimeout(timer);
  }
}
