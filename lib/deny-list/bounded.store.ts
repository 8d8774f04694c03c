import type { Clock } from '../clock.js';
import { DenyListUnavailableError } from '../jwt-state.errors.js';
import { Breaker } from './breaker.js';
import {
  type DenyListStore,
  type Entry,
  type NearCopy,
  PartialOutageError,
  StoreAnswerError,
} from './deny-list.store.js';
import { withDeadline } from './with-deadline.js';

/**
 * Whether a write that failed with this error may have happened all the same: the store was asked, and
 * its answer has not come.
 */
export function mayHaveHappened(error: unknown): boolean {
  if (!(error instanceof DenyListUnavailableError)) return true;
  // None: the store was left alone.
  return error.cause !== undefined && !(error.cause instanceof StoreAnswerError);
}

/** Called when the store stops answering, when it answers again, and when it refuses something. */
export interface AvailabilityListener {
  refused(error: StoreAnswerError): void;
  down(cause: unknown): void;
  up(): void;
}

/**
 * A store that answers in time or fails: a deadline for each call, and a circuit breaker, so that a
 * store that hangs costs a deadline now and then and not one for every request. Its only error is
 * {@link DenyListUnavailableError}.
 */
export class BoundedStore implements DenyListStore {
  readonly near: NearCopy | undefined;
  private readonly breaker: Breaker;
  private announcedDown = false;

  constructor(
    private readonly store: DenyListStore,
    private readonly deadline: number,
    clock: Clock,
    private readonly listener: AvailabilityListener,
  ) {
    this.breaker = new Breaker(() => clock.now());
    const { near } = store;
    // What is known in this process can be said whether or not the store answers.
    this.near = near && {
      recall: (keys) => near.recall(keys),
      complete: (keys) => this.bound(() => near.complete(keys)),
    };
  }

  get atomic() {
    return this.store.atomic;
  }

  get writeBothIfAbsent(): DenyListStore['writeBothIfAbsent'] {
    return this.store.writeBothIfAbsent && this.writeBoth;
  }

  get removeIfUnchanged(): DenyListStore['removeIfUnchanged'] {
    return this.store.removeIfUnchanged && this.remove;
  }

  get conclude(): DenyListStore['conclude'] {
    return this.store.conclude && this.concluding;
  }

  get neverShortens() {
    return this.store.neverShortens ?? false;
  }

  get isOrdered() {
    return this.store.isOrdered ?? false;
  }

  get version() {
    return this.store.version;
  }

  get ephemeral() {
    return this.store.ephemeral;
  }

  read(keys: readonly string[]) {
    return this.bound(() => this.store.read(keys));
  }

  write(key: string, value: string, ttl: number | undefined) {
    return this.bound(() => this.store.write(key, value, ttl));
  }

  writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    return this.bound(() => this.store.writeIfAbsent(key, value, ttl));
  }

  writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    return this.bound(() => this.store.writeIfUnchanged(key, expected, value, ttl));
  }

  private readonly writeBoth = (first: Entry, second: Entry) =>
    this.bound(() => (this.store as Required<DenyListStore>).writeBothIfAbsent(first, second));

  /** Goes behind a call that has just failed, on which the breaker may have opened. */
  private readonly remove = (key: string, expected: string) =>
    this.beside(async ({ removeIfUnchanged }) => removeIfUnchanged.call(this.store, key, expected));

  /** Goes with others that are counted: one outage must not count twice. */
  private readonly concluding = (jti: string, successor: string, next: string, ttl: number) =>
    this.beside(async ({ conclude }) => conclude.call(this.store, jti, successor, next, ttl));

  /** Nobody waits for it: so it is neither kept out nor counted. */
  private beside<T>(call: (store: Required<DenyListStore>) => Promise<T>): Promise<T> {
    return withDeadline(call(this.store as Required<DenyListStore>), this.deadline);
  }

  private async bound<T>(call: () => Promise<T>): Promise<T> {
    if (this.breaker.isShut()) throw new DenyListUnavailableError();
    try {
      const answer = await withDeadline((async () => call())(), this.deadline);
      this.succeeded();
      return answer;
    } catch (error) {
      throw this.failed(error);
    }
  }

  private succeeded(): void {
    this.breaker.succeeded();
    if (this.announcedDown) this.listener.up();
    this.announcedDown = false;
  }

  private failed(cause: unknown): DenyListUnavailableError {
    if (cause instanceof StoreAnswerError) {
      this.succeeded();
      this.listener.refused(cause);
    } else if (cause instanceof PartialOutageError) {
      // What needs other servers must not wait for this one.
      this.breaker.succeeded();
    } else {
      this.countFailure(cause);
    }
    return new DenyListUnavailableError(undefined, cause);
  }

  private countFailure(cause: unknown): void {
    if (!this.breaker.failed() || this.announcedDown) return;
    this.announcedDown = true;
    this.listener.down(cause);
  }
}
