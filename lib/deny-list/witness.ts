import type { Clock } from '../clock.js';
import type { DenyListStore } from './deny-list.store.js';
import { newMarkId } from './marks.js';

/**
 * What the store says of itself, under one key: `<epoch> <milliseconds>`.
 *
 * The *epoch* is named by whoever finds the store empty. Tokens carry it, so a store that has lost
 * its entries is told by its having another one.
 *
 * The milliseconds are how long a mark has to be kept, for the longest-lived tokens of any service on
 * this store. A service says how long its own live before it issues one, and whoever writes a mark
 * keeps it as long as the longest: so a service that knows nothing of another's refresh tokens
 * cannot revoke them for a quarter of an hour.
 */
export class Witness {
  private raw = '';
  private epoch = '';
  private kept: number;
  private announcedTo = '';

  /** @param own how long marks must be kept for the tokens of this service, in ms */
  constructor(
    private readonly store: DenyListStore,
    private readonly key: string,
    private readonly clock: Clock,
    private readonly own: number,
  ) {
    this.kept = own;
  }

  /** As far as is known, in ms; {@link read} knows it for sure. */
  get keepFor(): number {
    return this.kept;
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
    return this.kept;
  }

  /**
   * Before a token is issued: from here on all marks are kept long enough for it.
   *
   * @param epoch the one that the token will name
   */
  async announce(epoch: string): Promise<void> {
    if (this.announcedTo === epoch) return;
    let [raw] = await this.store.read([this.key]);
    // Each attempt that fails was beaten by a service whose tokens live longer than those before.
    while (raw !== undefined && parse(raw).keepFor < this.own) {
      const mine = format(parse(raw).epoch, this.own);
      const { written, current } = await this.store.writeIfUnchanged(
        this.key,
        raw,
        mine,
        undefined,
      );
      raw = written ? mine : current;
    }
    // A store that has become another one meanwhile is the business of the next look.
    if (raw !== undefined && this.epochIn(raw) === epoch) this.announcedTo = epoch;
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
    // Never less than before, also where the store is a new one: longer is safe.
    this.kept = Math.max(this.kept, keepFor);
  }
}

function format(epoch: string, keepFor: number): string {
  return `${epoch} ${keepFor}`;
}

function parse(raw: string): { epoch: string; keepFor: number } {
  const [epoch = '', keepFor] = raw.split(' ');
  const known = Number(keepFor);
  return { epoch, keepFor: Number.isSafeInteger(known) && known > 0 ? known : 0 };
}
