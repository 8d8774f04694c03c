import { ErrorReply } from '@redis/client';
import { Breaker } from '../deny-list/breaker.js';
import { PartialOutageError } from '../deny-list/deny-list.store.js';
import type { ServerListener } from '../deny-list/native-store.js';
import { withDeadline } from '../deny-list/with-deadline.js';
import { Silence } from './silence.js';

/** Answers by which a server says that it cannot serve a slot now. */
const NOT_SERVED = /^(CLUSTERDOWN|LOADING|MASTERDOWN|TRYAGAIN)\b/;

/**
 * One server of a cluster, with bounds of its own: while it does not answer, what lies on the others can be
 * had, and waits for nothing.
 */
export class Shard {
  private readonly breaker = new Breaker(() => performance.now());
  private readonly silence: Silence;
  private isDown = false;

  constructor(
    private readonly deadline: number | undefined,
    private readonly listener: ServerListener | undefined,
    /** Nothing has come from it for so long that its connection may be dead, or another has its place. */
    silent: () => void,
  ) {
    this.silence = new Silence(silent);
    this.silence.start();
  }

  async ask<T>(send: () => Promise<T>): Promise<T> {
    if (this.breaker.isShut()) throw outage();
    try {
      const answer = await this.inTime(this.silence.over(send));
      this.answered();
      return answer;
    } catch (error) {
      if (!(error instanceof ErrorReply)) throw this.failed(error);
      this.answered();
      throw NOT_SERVED.test(error.message) ? outage(error) : error;
    }
  }

  /** Says nothing about whether requests are served in time. */
  askPatiently<T>(send: () => Promise<T>): Promise<T> {
    return this.silence.over(send);
  }

  stop(): void {
    this.silence.stop();
  }

  private inTime<T>(answer: Promise<T>): Promise<T> {
    return this.deadline === undefined ? answer : withDeadline(answer, this.deadline);
  }

  private answered(): void {
    this.breaker.succeeded();
    if (this.isDown) this.listener?.up();
    this.isDown = false;
  }

  private failed(cause: unknown): PartialOutageError {
    if (this.breaker.failed() && !this.isDown) {
      this.isDown = true;
      this.listener?.down(cause);
    }
    return outage(cause);
  }
}

function outage(cause?: unknown): PartialOutageError {
  return new PartialOutageError('A server of the Redis cluster does not answer.', { cause });
}
