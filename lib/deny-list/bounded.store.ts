import type { Clock } from '../clock.js';
import { DenyListUnavailableError } from '../jwt-state.errors.js';
import {
  type DenyListStore,
  type Entry,
  type NearCopy,
  StoreAnswerError,
} from './deny-list.store.js';
import { withDeadline } from './with-deadline.js';

/** How many calls in a row must fail before the store is left alone. */
const FAILURES_TO_OPEN = 3;
/** How long it is left alone, in ms, until one call may try again. */
const OPEN_FOR_MS = 1_000;

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
  private failures = 0;
  private retryAt = 0;
  private announcedDown = false;
  private isProbing = false;

  constructor(
    private readonly store: DenyListStore,
    private readonly deadline: number,
    private readonly clock: Clock,
    private readonly listener: AvailabilityListener,
  ) {
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

  /**
   * Goes behind a call that has just failed, on which the breaker may have opened, and nobody waits for
   * it: so it is neither kept out nor counted.
   */
  private readonly remove = async (key: string, expected: string) => {
    const { removeIfUnchanged } = this.store as Required<DenyListStore>;
    const removing = (async () => removeIfUnchanged.call(this.store, key, expected))();
    return withDeadline(removing, this.deadline);
  };

  private async bound<T>(call: () => Promise<T>): Promise<T> {
    if (this.isShut()) throw new DenyListUnavailableError();
    try {
      const answer = await withDeadline((async () => call())(), this.deadline);
      this.succeeded();
      return answer;
    } catch (error) {
      throw this.failed(error);
    }
  }

  /** Open: fail at once. Half open: let what is asked now through, and keep the others out. */
  private isShut(): boolean {
    if (this.failures < FAILURES_TO_OPEN) return false;
    const now = this.clock.now();
    const wait = this.retryAt - now;
    // Longer than ever set: the clock was put back, and must not keep the store shut.
    if (wait > 0 && wait <= OPEN_FOR_MS) return !this.isProbing;
    this.retryAt = now + OPEN_FOR_MS;
    // Some questions are two calls, made in one breath.
    this.isProbing = true;
    queueMicrotask(() => {
      this.isProbing = false;
    });
    return false;
  }

  private succeeded(): void {
    this.failures = 0;
    if (this.announcedDown) this.listener.up();
    this.announcedDown = false;
  }

  private failed(cause: unknown): DenyListUnavailableError {
    if (cause instanceof StoreAnswerError) {
      this.succeeded();
      this.listener.refused(cause);
    } else {
      this.countFailure(cause);
    }
    return new DenyListUnavailableError(undefined, cause);
  }

  private countFailure(cause: unknown): void {
    this.failures += 1;
    this.retryAt = this.clock.now() + OPEN_FOR_MS;
    if (this.failures < FAILURES_TO_OPEN || this.announcedDown) return;
    this.announcedDown = true;
    this.listener.down(cause);
  }
}
