import { RedisServer } from '../support/redis-server.js';
import { Child } from './processes/rpc.js';

/** What a group has started, to be ended with it, whether it succeeds or not. */
export class Resources {
  private readonly closers: (() => Promise<void>)[] = [];

  /** Runs a group and ends what it has started, the last one first. */
  static async use<T>(body: (resources: Resources) => Promise<T>): Promise<T> {
    const resources = new Resources();
    try {
      return await body(resources);
    } finally {
      for (const close of resources.closers.reverse()) await close();
    }
  }

  child(...args: Parameters<typeof Child.start>): Child {
    const child = Child.start(...args);
    this.closeWith(() => child.stop());
    return child;
  }

  async redis(): Promise<RedisServer> {
    const redis = await RedisServer.start();
    this.closeWith(() => redis.stop());
    return redis;
  }

  closeWith(close: () => Promise<void>): void {
    this.closers.push(close);
  }
}
