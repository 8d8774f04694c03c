import { setTimeout as sleep } from 'node:timers/promises';
import type { LoggerService } from '@nestjs/common';
import { withDeadline } from '../deny-list/with-deadline.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { LinkDownError, type LinkListener, type RedisLink } from './redis-link.js';
import { inspect, type ServerFindings } from './server-check.js';
import type { Tracking } from './tracking.js';

/** How long the boot waits for the first connection, and for the answers about the set-up, in ms. */
const BOOT_WAIT_MS = 2_000;

/** A link, and what tells its near copy of changes. */
export interface TrackedLink {
  readonly link: RedisLink;
  readonly tracking: Tracking | undefined;
}

/**
 * Opens a link to Redis, says in the log what becomes of it, and checks at each connection what the
 * server would lose: it may be another server than the last time.
 */
export class LinkSupervisor {
  private readonly firstNews: Promise<'up' | 'down'>;
  private tellFirst: (news: 'up' | 'down') => void = () => {};
  private current: TrackedLink;
  private isBooting = true;
  private isDown = false;
  private isClosed = false;
  private reported = '';

  constructor(
    private readonly logger: Pick<LoggerService, 'log' | 'warn' | 'error'>,
    private readonly makeLink: (listener: LinkListener) => TrackedLink,
    /** Connected, or connected anew. */
    private readonly onUp: () => void,
  ) {
    this.firstNews = new Promise((resolve) => {
      this.tellFirst = resolve;
    });
    this.current = this.create();
  }

  get link(): RedisLink {
    return this.current.link;
  }

  /**
   * Ends when Redis is connected and checked, or else soon: then it goes on in the background.
   *
   * @throws JwtStateConfigError where the server evicts
   */
  async open(): Promise<void> {
    this.connect();
    const waited = sleep(BOOT_WAIT_MS, 'silence' as const, { ref: false });
    const news = await Promise.race([this.firstNews, waited]);
    if (news === 'silence')
      this.down(new LinkDownError(`no response for ${BOOT_WAIT_MS / 1000} s`));
    else if (news === 'up') await this.check().catch((error) => this.abort(error));
    this.isBooting = false;
  }

  /**
   * Gives up a connection that nothing comes over any more, or that leads to the wrong server.
   *
   * @param why for the log
   */
  startOver(why: string): void {
    if (this.isClosed) return;
    this.logger.warn(`${why}; reconnecting.`);
    this.isDown = true;
    const { link, tracking } = this.current;
    tracking?.retire();
    this.current = this.create();
    this.connect();
    link.close().catch(() => {});
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.tellFirst('down');
    await this.link.close();
  }

  private create(): TrackedLink {
    const made: TrackedLink = this.makeLink({
      up: () => made === this.current && this.up(),
      down: (cause) => made === this.current && this.down(cause),
      outdated: (why) => made === this.current && this.startOver(why),
    });
    return made;
  }

  private connect(): void {
    const { link } = this.current;
    link.connect().catch((error: unknown) => {
      if (link === this.link) this.down(error);
    });
  }

  private up(): void {
    if (this.isClosed) return;
    if (this.isDown) this.logger.log('Connected to Redis.');
    this.isDown = false;
    this.tellFirst('up');
    this.onUp();
    if (this.isBooting) return;
    this.check().catch((error) => {
      if (error instanceof JwtStateConfigError) this.logger.error(error.message);
      else this.logger.warn(notChecked(error));
    });
  }

  private down(cause: unknown): void {
    if (this.isClosed) return;
    const { tracking } = this.current;
    if (tracking && isTrackingRefused(cause)) {
      tracking.retire();
      this.logger.warn(
        `No near copy: Redis refuses CLIENT TRACKING (${reasonOf(cause)}), so every look-up asks Redis. Allow ` +
          '+client|tracking for this account, or set nearCopy: false.',
      );
      return;
    }
    if (!this.isDown) {
      const consequence = this.isBooting
        ? ' The application starts without it; until it is connected, denyList.onUnavailable applies.'
        : '';
      this.logger.warn(`No connection to Redis: ${reasonOf(cause)}.${consequence}`);
    }
    this.isDown = true;
    this.tellFirst('down');
  }

  private async abort(error: unknown): Promise<void> {
    if (!(error instanceof JwtStateConfigError)) {
      this.logger.warn(notChecked(error));
      return;
    }
    await this.close();
    throw error;
  }

  private async check(): Promise<void> {
    const inspectAll = async () => {
      const servers = await this.link.servers();
      return Promise.all(servers.map(inspect));
    };
    const findings = await withDeadline(inspectAll(), BOOT_WAIT_MS);
    const policy = findings.map(({ evictionPolicy }) => evictionPolicy).find(isEvicting);
    if (policy !== undefined) throw new JwtStateConfigError(evicts(policy));
    const report = warningsFor(findings);
    if (report.join() === this.reported) return;
    this.reported = report.join();
    for (const line of report) this.logger.warn(line);
  }
}

function isEvicting(policy: string | undefined): boolean {
  return policy !== undefined && policy !== 'noeviction';
}

function evicts(policy: string): string {
  return (
    `Redis drops entries when its memory is full (maxmemory-policy ${policy}): a revoked token would be ` +
    'valid again. Set maxmemory-policy noeviction.'
  );
}

function warningsFor(findings: readonly ServerFindings[]): string[] {
  const warnings: string[] = [];
  if (findings.some(({ evictionPolicy }) => evictionPolicy === undefined)) {
    warnings.push(
      'Unverified: this account may not read the maxmemory-policy of Redis. It must be noeviction, or ' +
        'revocations are lost when memory is full. Allow +config|get or +info to have it checked.',
    );
  }
  if (findings.some(({ isPersistent }) => isPersistent === false)) {
    warnings.push(
      'Redis persistence is off: a restart erases all revocations, and `denyList.onLoss` then applies to ' +
        'every token. Set `appendonly yes`.',
    );
  } else if (findings.some(({ isPersistent }) => isPersistent === undefined)) {
    warnings.push(
      'Unverified: Redis does not say whether persistence is on. Without it a restart erases all ' +
        'revocations. Set `appendonly yes`, and allow +config|get to have it checked.',
    );
  }
  return warnings;
}

function isTrackingRefused(cause: unknown): boolean {
  return /^(NOPERM|ERR)\b.*\b(client|tracking)\b/i.test(messageOf(cause));
}

function notChecked(error: unknown): string {
  return (
    `The settings of Redis could not be checked: ${reasonOf(error)}. It needs maxmemory-policy noeviction ` +
    'and appendonly yes.'
  );
}

/** Never the whole message of others: it may quote a URL with its password. */
function reasonOf(cause: unknown): string {
  if (cause instanceof LinkDownError) return cause.message;
  const { code } = (cause ?? {}) as { code?: unknown };
  if (typeof code === 'string') return code;
  // Replies of the server begin with a word of this kind: NOAUTH, WRONGPASS, LOADING.
  return /^[A-Z]{3,}\b/.exec(messageOf(cause))?.[0] ?? cause?.constructor?.name ?? 'unknown';
}

function messageOf(cause: unknown): string {
  return String((cause as { message?: unknown } | undefined)?.message ?? '');
}
