import { setImmediate as nextTurn } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type Assembly, assemble } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import { JwtStateError } from '../../lib/jwt-state.errors.js';
import type { SessionRecord } from '../../lib/session/session-record.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { timeOfTokenId } from '../../lib/token/token-id.js';
import type { RevokeTarget } from '../../lib/token-service/revoke-target.js';
import { KEYS, keysOf, storeKeys } from '../support/setup.js';
import type { Stage } from './explore-orders.js';
import { GRACE, ScheduledPairStore, ScheduledStore, Scheduler } from './scheduled-store.js';

// Injected failures are expected here, thousands of them.
Logger.overrideLogger(false);

const keys = await keysOf(KEYS);
/** How often a client tries again that was answered 503. */
const ATTEMPTS = 3;

/** One actor: its name, where it runs, and what it does when its turn comes. */
export interface Actor {
  readonly name: string;
  readonly process: 0 | 1;
  run(world: RotationWorld): Promise<unknown>;
}

/** What had ended when something began. */
interface Begun {
  readonly revoked: boolean;
  readonly switched: boolean;
  readonly version: number;
}

/**
 * Two processes on one store, a client that holds a refresh token and goes on with the newest it was
 * given, and a record of what was promised.
 */
export class RotationWorld implements Stage {
  readonly scheduler = new Scheduler();
  readonly outcomes = new Map<string, string>();
  private readonly entries = new Map<string, string>();
  private readonly ends = new Map<string, number>();
  private readonly clock = { time: 1_800_000_000_000, now: () => this.clock.time };
  private readonly processes: readonly [Assembly, Assembly];
  /** Every answer to a log-in or a refresh, in the order in which they came. */
  readonly given: IssuedToken[] = [];
  /** Access tokens that came without a refresh token. */
  private readonly reissued: IssuedToken[] = [];
  private readonly violations: string[] = [];

  /** The truth: what the claims source would answer. */
  private version = 0;
  private assigned: string | undefined;
  private announced = 0;
  private switchEnded = false;
  private revokeBegan = false;
  /** What nothing that begins now may work for. */
  private revoked: 'all' | 'globex' | undefined;
  private reuseSeen = false;
  /** It had left the tenant that was shut then. */
  private hasLeft = false;

  /**
   * @param uses how often the first refresh token, and then its successor, was exchanged before
   * @param writesPairs whether the store writes both records of a succession at once
   */
  constructor(
    private readonly actors: readonly Actor[],
    private readonly uses = 0,
    private readonly writesPairs = false,
  ) {
    this.processes = [this.process(0), this.process(1)];
  }

  private process(id: 0 | 1): Assembly {
    const config = resolveOptions(
      {
        keys: KEYS,
        claims: (_, previous) =>
          this.scheduler.step(`${id} source`, () => ({
            version: this.version,
            tenant: this.assigned ?? previous?.tenant ?? 'acme',
          })),
      },
      { refresh: { tokens: {} }, denyList: { claims: ['tenant'] } },
    );
    const parts = [this.entries, this.scheduler, id] as const;
    const store = this.writesPairs
      ? new ScheduledPairStore(...parts, this.ends, this.clock)
      : new ScheduledStore(...parts);
    const assembly = assemble({ config, keys, store, clock: this.clock });
    assembly.events.on('refresh-reuse', ({ jti }) => this.checkReuse(jti));
    return assembly;
  }

  // --- what actors do --------------------------------------------------------------------------

  /** Exchanges a token, and tries again with the same one while the answer is 503. */
  async refresh(process: 0 | 1, { refreshToken = '' }: IssuedToken): Promise<IssuedToken> {
    for (let attempt = 1; ; attempt++) {
      const begun = this.begun();
      try {
        const issued = await this.processes[process].tokens.refresh(refreshToken);
        this.given.push(issued);
        this.judge(issued, begun);
        return issued;
      } catch (error) {
        const isTemporary = error instanceof JwtStateError && error.getStatus() === 503;
        if (!isTemporary || attempt === ATTEMPTS) throw error;
      }
    }
  }

  /** The tenant that the session begins in is shut. */
  async shutFirstTenant(process: 0 | 1): Promise<void> {
    this.revokeBegan = true;
    // Once its record says for sure that it has left, nobody may end it; before it says so, it ends.
    this.hasLeft = this.place()?.isSure ?? false;
    await this.again(() => this.processes[process].tokens.revoke({ tenant: 'acme' }));
    if (!this.place()) this.revoked = 'all';
  }

  /** Where the session is by its record, if it has left the first tenant. */
  private place(): { isSure: boolean } | undefined {
    const record = this.recordOf(this.first);
    const { value = 'acme', tentative = false } = record?.choices.tenant ?? {};
    if (value === 'acme') return undefined;
    return { isSure: record?.left === undefined && !tentative };
  }

  async revoke(process: 0 | 1, how: 'session' | 'subject' | 'tenant'): Promise<void> {
    this.revokeBegan = true;
    // A session that enters a tenant after its revocation is not affected by it.
    const isInTenant = [...this.given, ...this.reissued].some(
      ({ claims }) => claims.tenant === 'globex',
    );
    const { sid, sub } = this.first.claims;
    const targets: Record<typeof how, RevokeTarget> = {
      session: { sid },
      subject: { sub },
      tenant: { tenant: 'globex' },
    };
    await this.again(() => this.processes[process].tokens.revoke(targets[how]));
    if (how !== 'tenant') this.revoked = 'all';
    else if (isInTenant) this.revoked = 'globex';
  }

  /** The access token of the log-in is replaced by one for another tenant. */
  async switchTenant(process: 0 | 1): Promise<void> {
    const { tokens } = this.processes[process];
    const reissue = () => tokens.reissue(this.first.claims, { tenant: 'globex' });
    this.reissued.push(await this.again(reissue));
    this.switchEnded = true;
  }

  /** The access token of the log-in is replaced by what the source says. */
  async reissue(process: 0 | 1): Promise<void> {
    const { tokens } = this.processes[process];
    this.reissued.push(await this.again(() => tokens.reissue(this.first.claims)));
  }

  /** Somebody else puts the user into another tenant; his sessions learn it when they ask. */
  async assignTenant(process: 0 | 1): Promise<void> {
    await this.scheduler.step(`${process} commit`, () => {
      this.assigned = 'globex';
    });
  }

  /** A change made by somebody else. */
  async change(process: 0 | 1): Promise<void> {
    const version = await this.scheduler.step(`${process} commit`, () => ++this.version);
    const { tokens } = this.processes[process];
    await this.again(() => tokens.markStale({ sub: this.first.claims.sub }));
    this.announced = version;
  }

  async idle(process: 0 | 1): Promise<void> {
    await this.scheduler.step(`${process} idle`, () => {});
  }

  /** Every grace period that has begun is over. */
  async graceEnded(process: 0 | 1): Promise<void> {
    await this.scheduler.step(`${process} grace ends`, () => {
      this.clock.time += GRACE;
    });
  }

  private async again<T>(attempt: () => Promise<T>): Promise<T> {
    try {
      return await attempt();
    } catch (error) {
      const isTemporary = error instanceof JwtStateError && error.getStatus() === 503;
      if (!isTemporary) throw error;
      return attempt();
    }
  }

  private begun(): Begun {
    return {
      revoked: this.revoked !== undefined,
      switched: this.switchEnded,
      version: this.announced,
    };
  }

  private judge({ claims }: IssuedToken, begun: Begun): void {
    if (begun.revoked) this.violations.push('exchanged although it had been revoked');
    if (begun.switched && claims.tenant !== 'globex') {
      this.violations.push(`brought ${claims.tenant} after the switch was answered as done`);
    }
    if ((claims.version as number) < begun.version) {
      this.violations.push(`brought ${claims.version}, ${begun.version} was announced`);
    }
  }

  /** Reuse is what comes after grace, of a token whose successor was used. */
  private checkReuse(jti: string): void {
    this.reuseSeen = true;
    const used = this.successorOf(jti);
    if (!used || !this.successorOf(used.claims.jti)) {
      this.violations.push('reuse, and the successor was not used');
    } else if (this.clock.time < used.at + GRACE) {
      this.violations.push('reuse in grace');
    }
  }

  get first(): IssuedToken {
    return this.given[0] as IssuedToken;
  }

  /** The token that a client goes on with: the newest it was given. */
  get newest(): IssuedToken {
    return this.given.reduce((a, b) => (timeOf(b) > timeOf(a) ? b : a));
  }

  // --- running ---------------------------------------------------------------------------------

  async begin(): Promise<void> {
    this.given.push(await this.alone(this.processes[0].tokens.issue('alice')));
    for (let use = 0; use < this.uses; use++) await this.alone(this.refresh(0, this.newest));
    for (const { name, process, run } of this.actors) {
      void this.scheduler.step(`${process} start ${name}`, () => {
        void run(this).then(
          () => this.outcomes.set(name, 'ok'),
          (error: unknown) => this.outcomes.set(name, codeOf(error)),
        );
      });
    }
  }

  async settle(): Promise<void> {
    await nextTurn();
  }

  /** Runs something to its end with nothing in between. */
  private async alone<T>(task: Promise<T>): Promise<T> {
    let done = false;
    const finished = task.finally(() => {
      done = true;
    });
    finished.catch(() => {});
    while (!done) {
      await this.settle();
      if (this.scheduler.waiting.length > 0) this.scheduler.take(0).run();
    }
    return finished;
  }

  // --- what must hold when all is quiet ----------------------------------------------------------

  async checkAfterwards(): Promise<string[]> {
    const line = this.line();
    const strays = this.given.filter((issued) => !line.includes(idOf(issued)));
    if (strays.length > 0) this.violations.push('a second successor was handed out');
    const mayBeRefused = this.revokeBegan || this.reuseSeen;
    for (const [name, outcome] of this.outcomes) {
      const isExpected = mayBeRefused && /INVALID_GRANT|TOKEN_REVOKED/.test(outcome);
      if (outcome !== 'ok' && !isExpected) this.violations.push(`${name} ended with ${outcome}`);
    }
    if (this.revoked !== undefined || this.reuseSeen) await this.expectTheEnd();
    else if (!this.revokeBegan) await this.expectToGoOn();
    else if (this.hasLeft) {
      await this.expectEnding(this.exchange(this.newest), /ok/, 'ended, though it had left');
    }
    return this.violations;
  }

  /** The session is over: no refresh token works, and no access token of what was revoked. */
  private async expectTheEnd(): Promise<void> {
    for (const issued of new Set([this.newest, this.first])) {
      await this.expectEnding(this.exchange(issued), /INVALID_GRANT/, 'a token outlived its end');
    }
    for (const { accessToken, claims } of [...this.given, ...this.reissued]) {
      // A refresh in the very moment of a switch may not know of it; the next one does.
      if (this.revoked === 'globex' && claims.tenant !== 'globex') continue;
      const verified = this.processes[1].tokens.verify(accessToken);
      await this.expectEnding(verified, /REVOKED|SUPERSEDED/, 'an access token outlived its end');
    }
  }

  /** The client goes on, by what is true; and a token that was used long ago ends the session. */
  private async expectToGoOn(): Promise<void> {
    for (const { accessToken, claims } of this.given) {
      const isOld = (claims.version as number) < this.announced;
      const verified = this.processes[1].tokens.verify(accessToken);
      const expected = isOld ? /STALE|SUPERSEDED/ : /ok|STALE|SUPERSEDED/;
      await this.expectEnding(verified, expected, 'an old access token');
    }
    await this.expectEnding(this.exchange(this.newest), /ok/, 'the client was logged out');
    this.clock.time += GRACE;
    await this.expectEnding(this.exchange(this.newest), /ok/, 'later the client was logged out');
    await this.expectEnding(this.exchange(this.first), /INVALID_GRANT/, 'reuse was not noticed');
    await this.expectEnding(this.exchange(this.newest), /INVALID_GRANT/, 'reuse ended nothing');
  }

  private exchange(issued: IssuedToken): Promise<IssuedToken> {
    return this.refresh(1, issued);
  }

  private async expectEnding(attempt: Promise<unknown>, expected: RegExp, what: string) {
    const ending = await this.alone(attempt).then(() => 'ok', codeOf);
    if (!expected.test(ending)) this.violations.push(`${what}: ${ending}`);
  }

  /** The first refresh token and its successors, as the store knows them. */
  private line(): string[] {
    const line: string[] = [];
    for (let jti: string | undefined = idOf(this.first); jti !== undefined; ) {
      line.push(jti);
      jti = this.successorOf(jti)?.claims.jti;
    }
    return line;
  }

  private successorOf(jti: string): { at: number; claims: { jti: string } } | undefined {
    return this.payloadUnder(storeKeys.next(jti, 'refresh')) as never;
  }

  private recordOf({ claims: { sid } }: IssuedToken): SessionRecord | undefined {
    return this.payloadUnder(storeKeys.session(sid))?.record as SessionRecord | undefined;
  }

  private payloadUnder(key: string): Record<string, unknown> | undefined {
    const payload = this.entries.get(key)?.split('.')[1];
    return payload === undefined
      ? undefined
      : JSON.parse(Buffer.from(payload, 'base64url').toString());
  }
}

const idOf = ({ refreshClaims }: IssuedToken) => refreshClaims?.jti as string;
const timeOf = (issued: IssuedToken) => timeOfTokenId(idOf(issued)) as number;

function codeOf(error: unknown): string {
  if (error instanceof JwtStateError) return error.code;
  return error instanceof Error ? error.message : 'unknown';
}
