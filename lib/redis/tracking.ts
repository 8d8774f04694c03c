import { BasicPooledClientSideCache } from '@redis/client';
import type { NearValues } from './near-values.js';
import type { TrackedNames } from './tracked-names.js';

/** Always permitted, and changes nothing: takes the place of a command that is not. */
const NOTHING = ['HELLO'];

/**
 * Redis's client-side caching, for {@link NearValues}. The client's own cache is replaced entirely: its
 * index grows without bound, an answer overtaken by FLUSHALL stays in it for ever, and a server that
 * hangs leaves its answers standing. What remains is the wiring: tracking is switched on in the
 * handshake of each connection, before any other command, and news comes in between the answers.
 *
 * BCAST: the server remembers nothing per key. It tells of every change to the names that are tracked,
 * also of keys that were never asked for.
 */
export class Tracking extends BasicPooledClientSideCache {
  private near: NearValues | undefined;

  constructor(
    near: NearValues,
    private readonly names: TrackedNames,
  ) {
    super({ recordStats: false });
    this.near = near;
  }

  /**
   * From here on no connection tracks, and nothing is heard of those that do: for a link that is given up,
   * and for an account that may not use the command and would never get a connection.
   */
  retire(): void {
    this.near?.deafen();
    this.near = undefined;
  }

  override trackingOn(): string[] {
    if (!this.near) return NOTHING;
    this.near.hear();
    const prefixes = this.names.beginnings.flatMap((beginning) => ['PREFIX', beginning]);
    return ['CLIENT', 'TRACKING', 'ON', 'BCAST', ...prefixes];
  }

  override invalidate(key: { toString(): string } | null): void {
    if (key === null) this.near?.clear();
    else this.near?.invalidate(key.toString());
  }

  /** No command is answered from here; {@link NearValues} is asked before one is sent. */
  override async handleCache(
    ...[, parser, send, transform, mapping]: Parameters<BasicPooledClientSideCache['handleCache']>
  ) {
    const reply = await send();
    return transform ? transform(reply, parser.preserve, mapping) : reply;
  }

  override clear(): void {
    this.near?.clear();
  }

  override size(): number {
    return this.near?.size ?? 0;
  }

  override onError(): void {
    this.near?.deafen();
  }

  override onClose(): void {
    this.near?.deafen();
  }

  override onPoolClose(): void {
    this.near?.deafen();
  }
}
