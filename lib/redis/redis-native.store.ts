import { Logger } from '@nestjs/common';
import type { Entry, NearCopy } from '../deny-list/deny-list.store.js';
import type { NativeStore, NativeStoreSettings } from '../deny-list/native-store.js';
import { redisVerbs } from '../deny-list/redis.commands.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { createLink } from './create-link.js';
import { Heartbeat } from './heartbeat.js';
import { LinkSupervisor } from './link-supervisor.js';
import { NearValues } from './near-values.js';
import type { LinkCommands, RedisLink } from './redis-link.js';
import type { RedisDenyListConfig } from './resolve-options.js';
import { Sentries } from './sentries.js';
import { Silence } from './silence.js';
import { TrackedNames } from './tracked-names.js';
import { Tracking } from './tracking.js';

/** So often in a lease the server is asked whether it still answers. */
const BEATS_PER_LEASE = 4;

/** What belongs to one time between opening and closing. */
interface Session {
  readonly supervisor: LinkSupervisor;
  readonly prefix: string;
  readonly tracked: TrackedNames;
  readonly sentries: Sentries | undefined;
}

/** The deny list on a Redis of its own, with a copy of its answers in this process. */
export class RedisNativeStore implements NativeStore {
  readonly atomic = 'store';
  readonly ephemeral = false;
  readonly neverShortens = true;
  readonly near: NearCopy | undefined;
  private readonly values: NearValues | undefined;
  private readonly heartbeat: Heartbeat | undefined;
  private readonly silence = new Silence(() =>
    this.session?.supervisor.startOver('No response from Redis for 5 s'),
  );
  private session: Session | undefined;

  constructor(private readonly config: RedisDenyListConfig) {
    if (!config.nearCopy) return;
    const { size, lease } = config.nearCopy;
    const values = new NearValues(size, lease, () => performance.now());
    const interval = lease / BEATS_PER_LEASE;
    const heartbeat = new Heartbeat(() => this.beat(values, lease - interval), interval);
    this.values = values;
    this.heartbeat = heartbeat;
    this.near = {
      recall: (keys) => {
        heartbeat.need();
        return values.recall(keys);
      },
      complete: (keys) => this.complete(values, keys),
    };
  }

  get version(): number | undefined {
    this.heartbeat?.need();
    return this.values?.version;
  }

  async open({ names, deadline, listener: servers }: NativeStoreSettings): Promise<void> {
    if (this.session) {
      throw new JwtStateConfigError(
        'This cache of redisDenyList() is in use already. Call it once for each module.',
      );
    }
    const logger = new Logger('JwtStateModule');
    const tracked = new TrackedNames(names.asked);
    const supervisor = new LinkSupervisor(
      logger,
      (listener) => {
        const tracking = this.values && new Tracking(this.values, tracked);
        const link = createLink(this.config, { tracking, deadline, servers }, listener);
        return { link, tracking };
      },
      () => this.session?.sentries?.checkNow(),
    );
    const needsSentries = supervisor.link.isCluster && Sentries.areOfUse(names);
    const sentries = needsSentries
      ? new Sentries(() => supervisor.link.patientCommands, names, logger)
      : undefined;
    this.session = { supervisor, prefix: names.prefix, tracked, sentries };
    try {
      await supervisor.open();
    } catch (error) {
      await this.close();
      throw error;
    }
    sentries?.start();
    // Of a cluster each server is listened to; a client that was given is its owner's.
    const { kind } = this.config.target;
    if (kind === 'server' || kind === 'sentinel') this.silence.start();
  }

  async close(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    this.heartbeat?.stop();
    this.silence.stop();
    session?.sentries?.stop();
    this.values?.deafen();
    await session?.supervisor.close();
  }

  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    const { commands, isCluster } = this.link;
    const read = () => this.silence.over(() => redisVerbs.read(commands, [...keys], isCluster));
    return this.values ? this.readAndKeep(this.values, keys, read) : read();
  }

  private async readAndKeep(
    values: NearValues,
    keys: readonly string[],
    read: () => Promise<(string | undefined)[]>,
  ): Promise<(string | undefined)[]> {
    const isKept = keys.map((key) => this.isTracked(key));
    const question = values.ask(keys.filter((_, index) => isKept[index]));
    try {
      const answer = await read();
      values.answered(
        question,
        answer.filter((_, index) => isKept[index]),
      );
      return answer;
    } catch (error) {
      values.unanswered(question);
      throw error;
    }
  }

  async write(key: string, value: string, ttl: number | undefined): Promise<void> {
    await this.changing([key], () => redisVerbs.write(this.commands, key, value, ttl));
  }

  writeIfAbsent(key: string, value: string, ttl: number | undefined) {
    return this.changing([key], () => redisVerbs.writeIfAbsent(this.commands, key, value, ttl));
  }

  writeIfUnchanged(
    key: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    return this.changing([key], () =>
      redisVerbs.writeIfUnchanged(this.commands, key, expected, value, ttl),
    );
  }

  get writeBothIfAbsent(): NativeStore['writeBothIfAbsent'] {
    return this.isOrdered ? this.writeBoth : undefined;
  }

  get removeIfUnchanged(): NativeStore['removeIfUnchanged'] {
    return this.isOrdered ? this.remove : undefined;
  }

  get conclude(): NativeStore['conclude'] {
    return this.isOrdered ? this.concluding : undefined;
  }

  private readonly writeBoth = (first: Entry, second: Entry) =>
    this.changing([first.key, second.key], () =>
      redisVerbs.writeBothIfAbsent(this.commands, first, second),
    );

  private readonly remove = (key: string, expected: string) =>
    this.changing([key], () => redisVerbs.removeIfUnchanged(this.commands, key, expected));

  private readonly concluding = (jti: string, successor: string, next: string, ttl: number) =>
    this.changing([jti, next], () => redisVerbs.conclude(this.commands, jti, successor, next, ttl));

  /** Throws before it is opened and after it is closed. */
  get commands(): LinkCommands {
    return this.link.commands;
  }

  get isOrdered(): boolean {
    return this.session?.supervisor.link.isOrdered ?? false;
  }

  private get link(): RedisLink {
    if (this.session) return this.session.supervisor.link;
    throw new Error('The deny list on Redis is not open: JwtStateModule opens and closes it.');
  }

  private async complete(values: NearValues, keys: readonly string[]) {
    const known = keys.map((key) => values.recallOne(key));
    const missing = keys.filter((_, index) => known[index] === undefined);
    const answers = missing.length > 0 ? await this.read(missing) : [];
    let next = 0;
    return known.map((value) => (value === undefined ? answers[next++] : (value ?? undefined)));
  }

  /** This process must not see its own write later than others do. */
  private async changing<T>(keys: readonly string[], write: () => Promise<T>): Promise<T> {
    this.invalidate(keys);
    try {
      return await this.silence.over(write);
    } finally {
      // Also where it failed: it may have happened all the same.
      this.invalidate(keys);
    }
  }

  private invalidate(keys: readonly string[]): void {
    for (const key of keys) if (this.isTracked(key)) this.values?.invalidate(key);
  }

  private isTracked(key: string): boolean {
    return this.session?.tracked.cover(key) ?? false;
  }

  /** Any read proves that the server answers, and a read of its own keys is always permitted. */
  private async beat(values: NearValues, enough: number): Promise<void> {
    const { session } = this;
    if (!session || values.trustedFor > enough) return;
    const question = values.ask([]);
    const { commands } = session.supervisor.link;
    await this.silence.over(() => commands.get(session.prefix));
    values.answered(question, []);
  }
}
