import type { LoggerService } from '@nestjs/common';
import type { DenyListKeys } from '../deny-list/deny-list.keys.js';
import { newMarkId } from '../deny-list/marks.js';
import { redisVerbs } from '../deny-list/redis.commands.js';
import { withDeadline } from '../deny-list/with-deadline.js';
import { spreadTags } from './key-slot.js';
import type { LinkCommands } from './redis-link.js';

/** A server with fewer than 16384 / 64 slots may have none of them. */
const SENTRIES = 64;
/** About so often they are looked at, in ms. */
const CHECK_EVERY_MS = 1_000;
/** Longer than a request would wait, in ms: a busy server must not be passed over. */
const ANSWER_WITHIN_MS = 1_000;

/**
 * The witness says whether the store has lost its entries, but in a cluster it lies on one server and
 * says nothing of the others. So a sentry stands in each part of the cluster. One that is missing
 * means that a server has lost its entries, and with them revocations: the witness gets another epoch,
 * and every older token meets `denyList.onLoss`.
 *
 * Only a *missing* one counts. Who sets them late, by an epoch that has gone, does no harm that way.
 */
export class Sentries {
  private readonly witness: string;
  /** The epoch for which all sentries have been set. In the slot of the witness, and lost with it. */
  private readonly marker: string;
  private readonly sentries: readonly string[];
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | undefined;

  constructor(
    private readonly commands: () => LinkCommands,
    { prefix, witness }: DenyListKeys,
    private readonly logger: Pick<LoggerService, 'error'>,
  ) {
    this.witness = witness;
    this.marker = `${prefix}{${witness}}sentries`;
    this.sentries = spreadTags(SENTRIES).map((tag) => `${prefix}{${tag}}sentry`);
  }

  /** Whether they can tell more than the witness: a prefix with a hash tag puts all into one slot. */
  static areOfUse({ prefix }: DenyListKeys): boolean {
    return !/[{}]/.test(prefix);
  }

  start(): void {
    // With jitter, or all processes that start together ask together.
    const interval = CHECK_EVERY_MS * (0.8 + Math.random() * 0.4);
    this.timer = setInterval(() => this.checkNow(), interval).unref();
    this.checkNow();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** A server that does not answer now is looked at the next time. */
  checkNow(): void {
    if (this.timer === undefined) return;
    this.running ??= this.check()
      .catch(() => {})
      .finally(() => {
        this.running = undefined;
      });
  }

  private async check(): Promise<void> {
    const [witness, marker] = await this.read([this.witness, this.marker]);
    if (witness === undefined) return; // nobody has begun, or the core will notice
    if (marker !== epochOf(witness)) await this.set(epochOf(witness));
    else if ((await this.isOneMissing()) && (await this.isOneMissing())) await this.lost(witness);
  }

  /** A server that hangs says nothing, and must not keep the others from being looked at. */
  private async isOneMissing(): Promise<boolean> {
    const looks = await Promise.allSettled(this.sentries.map((key) => this.read([key])));
    return looks.some((look) => look.status === 'fulfilled' && look.value[0] === undefined);
  }

  private async lost(witness: string): Promise<void> {
    const epoch = newMarkId(Date.now());
    const renewed = [epoch, ...witness.split(' ').slice(1)].join(' ');
    const { written } = await redisVerbs.writeIfUnchanged(
      this.commands(),
      this.witness,
      witness,
      renewed,
      undefined,
    );
    if (!written) return; // another process was first
    this.logger.error(
      'A server of the Redis cluster has lost its entries: denyList.onLoss applies to every older token.',
    );
    await this.set(epoch);
  }

  /** The marker last: it says that all the others stand. */
  private async set(epoch: string): Promise<void> {
    await Promise.all(this.sentries.map((key) => this.commands().set(key, epoch)));
    await this.commands().set(this.marker, epoch);
  }

  private read(keys: readonly string[]) {
    return withDeadline(redisVerbs.read(this.commands(), [...keys], true), ANSWER_WITHIN_MS);
  }
}

function epochOf(witness: string): string {
  return witness.split(' ')[0] ?? '';
}
