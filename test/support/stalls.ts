const LOOK_EVERY_MS = 10;
/** Less is the ordinary work of a process. */
const SHORTEST_MS = 20;

/** A time in which a process did nothing else, or nothing at all; by the host's clock, in ms. */
export interface Stall {
  readonly from: number;
  readonly to: number;
}

/** The same in every process of this host, and never put back. */
export function hostTime(): number {
  return performance.timeOrigin + performance.now();
}

/**
 * When this process was held up: a machine that is shared runs another one meanwhile. What its requests
 * took then says nothing about the code under test.
 */
export class Stalls {
  readonly seen: Stall[] = [];
  private last = hostTime();
  private readonly timer = setInterval(() => this.look(), LOOK_EVERY_MS).unref();

  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const from = this.last + LOOK_EVERY_MS;
    this.last = hostTime();
    if (this.last - from > SHORTEST_MS) this.seen.push({ from, to: this.last });
  }
}

/** How much of a time was lost to stalls of any of the processes that took part, in ms. */
export function stalledWithin(stalls: readonly Stall[], { from, to }: Stall): number {
  const inOrder = stalls
    .filter((stall) => stall.from < to && stall.to > from)
    .sort((one, other) => one.from - other.from);
  let counted = from;
  let lost = 0;
  for (const stall of inOrder) {
    // What two of them had at the same time counts once.
    const begin = Math.max(counted, stall.from);
    const end = Math.min(to, stall.to);
    if (end <= begin) continue;
    lost += end - begin;
    counted = end;
  }
  return lost;
}
