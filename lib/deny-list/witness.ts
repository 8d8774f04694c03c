import type { Clock } from '../clock.js';
import { DenyListUnavailableError } from '../jwt-state.errors.js';
import type { DenyListStore } from './deny-list.store.js';
import { newMarkId } from './marks.js';

/** An announcement is exchanged against what stands there; this often it may have moved on. */
const EXCHANGE_ATTEMPTS = 100;
/** What was read longer ago says little of what other services have announced since. */
const FRESH_FOR_MS = 60_000;

/**
 * What the store says of itself, under one key: `<epoch> <milliseconds>`.
 *
 * The *epoch* is named by whoever finds the store empty. Tokens carry it, so a store that has lost
 * its entries is told by its having another one.
 *
 * The milliseconds are how long a mark has to be kept, for the longest-lived tokens of any service on
 * this store. A service announces what its own need before it looks at a token or issues one, and
 * whoever writes a mark keeps it as long as the longest: so a service that knows nothing of another's
 * refresh tokens does not revoke them for a quarter of an hour.
 */
export class Witness {
  private raw = '';
  private epoch = '';
  /** What the store says, as it was last read. */
  private announced = 0;
  private longest: number;
  private readAt = Number.NEGATIVE_INFINITY;

  /** @param own how long marks must be kept for the tokens of this service, in ms */
  constructor(
    private readonly store: DenyListStore,
    private readonly key: string,
    private readonly clock: Clock,
    private readonly own: number,
  ) {
    this.longest = own;
  }

  /** How long marks are to be kept, as far as is known, in ms; {@link read} knows it for sure. */
  get keepFor(): number {
    return this.longest;
  }

  /** Whether what is known was read lately. */
  get isFresh(): boolean {
    return Math.abs(this.clock.now() - this.readAt) < FRESH_FOR_MS;
  }

  /** Whether the store, as it was last read, keeps marks long enough for the tokens of this service. */
  get isAnnounced(): boolean {
    // Where nothing is kept, there is nothing to announce.
    return this.announced >= this.own || this.own === Number.POSITIVE_INFINITY;
  }

  /** The epoch in what was read under the key of the witness; it is the same for nearly every look. */
  epochIn(raw: string | undefined): string | undefined {
    if (raw === undefined) return undefined;
    if (raw !== this.raw) this.learn(raw);
    return this.epoch;
  }

  /** The epoch of this store, which begins one where it is empty. */
  async settle(raw: string | undefined): Promise<string> {
    return this.epochIn(raw) ?? this.begin();
  }

  /** Asks the store how long a mark is to be kept. */
  async read(): Promise<number> {
    const [raw] = await this.store.read([this.key]);
    await this.settle(raw);
    this.readAt = this.clock.now();
    return this.longest;
  }

  /** From here on whoever writes a mark keeps it long enough for the tokens of this service. */
  async announce(): Promise<void> {
    await this.read();
    for (let attempt = 0; attempt < EXCHANGE_ATTEMPTS; attempt++) {
      if (this.isAnnounced) return;
      const { raw } = this;
      const mine = format(this.epoch, this.own);
      const { written, current } = await this.store.writeIfUnchanged(
        this.key,
        raw,
        mine,
        undefined,
      );
      await this.settle(written ? mine : current);
    }
    throw new DenyListUnavailableError('Too many services announce themselves at once.');
  }

  private async begin(): Promise<string> {
    const mine = format(newMarkId(this.clock.now()), this.own);
    const standing = await this.store.writeIfAbsent(this.key, mine, undefined);
    return this.epochIn(standing ?? mine) as string;
  }

  private learn(raw: string): void {
    const { epoch, keepFor } = parse(raw);
    this.raw = raw;
    this.epoch = epoch;
    this.announced = keepFor;
    // Never less than before, also where the store is a new one: longer is safe.
    this.longest = Math.max(this.longest, keepFor);
  }
}

function format(epoch: string, keepFor: number): string {
  return `${epoch} ${keepFor}`;
}

function parse(raw: string): { epoch: string; keepFor: number } {
  const [epoch = '', keepFor] = raw.split(' ');
  const known = Number(keepFor);
  return { epoch, keepFor: Number.isFinite(known) && known > 0 ? known : 0 };
}
