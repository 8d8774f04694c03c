import { setImmediate as nextTurn } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type Assembly, assemble } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import { JwtStateError } from '../../lib/jwt-state.errors.js';
import type { ChangeScope } from '../../lib/reissue/commit-protocol.js';
import { runInHandlerScope } from '../../lib/reissue/handler-scope.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { keysOf } from '../support/setup.js';
import { ScheduledPairStore, ScheduledStore, Scheduler } from './scheduled-store.js';

// Injected failures are expected here, thousands of them.
Logger.overrideLogger(false);

const keys = await keysOf({ algorithm: 'HS256', secret: 's'.repeat(32) });
const SUBJECT = 'alice';
const START = 1_800_000_000_000;

/** What an actor came back with. */
export type Outcome = { ok: true; version?: number } | { ok: false; code: string };

/** One actor: its name, and what it does when its turn comes. */
export interface Actor {
  readonly name: string;
  readonly process: 0 | 1;
  run(world: World): Promise<Outcome>;
}

/**
 * Two processes on one store and one database, a client that holds tokens, and a record of what
 * was promised: which changes and revocations had *ended* when a request began.
 */
export class World {
  readonly scheduler = new Scheduler();
  readonly entries = new Map<string, string>();
  readonly processes: readonly [Assembly, Assembly];
  readonly clock = { time: START, now: () => this.clock.time };
  /** Every token that was ever delivered to the client. */
  readonly held: VerifiedToken[] = [];
  readonly violations: string[] = [];
  readonly outcomes = new Map<string, Outcome>();

  /** The truth: what the claims source would answer. */
  version = 0;
  /** The newest version whose change has ended, and been reported as done. */
  private announced = 0;
  private revokeEnded = false;
  revokeBegan = false;
  /** An administrator's change whose mark was not confirmed: its caller was told. */
  unmarkedChange = false;

  /** @param writesPairs whether the store writes both records of a succession at once */
  constructor(private readonly writesPairs: boolean) {
    this.processes = [this.process(0), this.process(1)];
  }

  private process(id: 0 | 1): Assembly {
    const config = resolveOptions({
      keys: { algorithm: 'HS256', secret: 's'.repeat(32) },
      accessToken: { expiresIn: '1h' },
      claims: () => this.scheduler.step(`${id} source`, () => ({ version: this.version })),
    });
    const parts = [this.entries, this.scheduler, id] as const;
    const store = this.writesPairs
      ? new ScheduledPairStore(...parts, new Map(), this.clock)
      : new ScheduledStore(...parts);
    return assemble({ config, keys, store, clock: this.clock });
  }

  /** Logs in, without interleaving. */
  async login(): Promise<void> {
    const issued = await this.alone(this.processes[0].tokens.issue(SUBJECT));
    this.held.push(issued.claims);
  }

  // --- what actors do --------------------------------------------------------------------------

  /** A request on an ordinary route. */
  async request(process: 0 | 1, token: VerifiedToken): Promise<Outcome> {
    const { announced, revokeEnded } = this;
    const resolved = await this.processes[process].resolver.resolve(token, 'reissue');
    if (resolved.issued) this.held.push(resolved.issued.claims);
    return this.judgeRun(resolved.current, announced, revokeEnded);
  }

  /** A request whose `@ReissuesToken()` handler changes the state. */
  async change(process: 0 | 1, token: VerifiedToken, scope: ChangeScope = 'subject') {
    const { announced, revokeEnded } = this;
    const { resolver, protocol } = this.processes[process];
    const resolved = await resolver.resolve(token, 'leave');
    const outcome = this.judgeRun(resolved.current, announced, revokeEnded);
    const commit = await protocol.begin(resolved, scope);
    const version = await runInHandlerScope(commit.handler, () => this.commitChange(process));
    await commit.close();
    // From here on the answer stands, with or without a token.
    this.announced = Math.max(this.announced, version);
    const issued = await commit.replace().catch(() => undefined);
    if (issued) this.held.push(issued.claims);
    return outcome;
  }

  /** A change made by somebody else. */
  async markStale(process: 0 | 1): Promise<Outcome> {
    const version = await this.commitChange(process);
    this.unmarkedChange = true;
    await this.processes[process].tokens.markStale({ sub: SUBJECT });
    this.unmarkedChange = false;
    this.announced = Math.max(this.announced, version);
    return { ok: true };
  }

  async revoke(process: 0 | 1, how: 'session' | 'subject', token: VerifiedToken) {
    this.revokeBegan = true;
    const { tokens } = this.processes[process];
    await tokens.revoke(how === 'session' ? { sid: token.sid } : { sub: SUBJECT });
    this.revokeEnded = true;
    return { ok: true } as const;
  }

  private commitChange(process: 0 | 1): Promise<number> {
    return this.scheduler.step(`${process} commit`, () => ++this.version);
  }

  /** The first two promises: no claims older than an ended change, nothing after an ended revoke. */
  private judgeRun(token: VerifiedToken, announced: number, revokeEnded: boolean): Outcome {
    const version = token.version as number;
    if (version < announced)
      this.violations.push(`acted on ${version}, ${announced} was announced`);
    if (revokeEnded) this.violations.push('ran although the session had been revoked');
    return { ok: true, version };
  }

  // --- running ---------------------------------------------------------------------------------

  /** When an actor begins is chosen like everything else. */
  add({ name, process, run }: Actor): void {
    void this.scheduler.step(`${process} start ${name}`, () => {
      void run(this)
        .catch((error: unknown): Outcome => {
          if (error instanceof JwtStateError) return { ok: false, code: error.code };
          return { ok: false, code: error instanceof Error ? error.message : 'unknown' };
        })
        .then((outcome) => this.outcomes.set(name, outcome));
    });
  }

  async settle(): Promise<void> {
    await nextTurn();
  }

  /** Runs something to its end with nothing in between. */
  async alone<T>(task: Promise<T>): Promise<T> {
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

  /** The third promise, and the first two once more when all is quiet. */
  async checkAfterwards(): Promise<string[]> {
    await this.checkHeldTokens(this.announced);
    // Beyond every deadline, the truth wins also where a process died or a mark got lost.
    this.clock.time += 120_000;
    const last = this.held.at(-1);
    if (last && !this.revokeBegan && !this.unmarkedChange) {
      for (const token of this.held) await this.checkAgainstTruth(token);
    }
    return this.violations;
  }

  private async checkHeldTokens(announced: number): Promise<void> {
    const tips = new Set<string>();
    for (const token of [...this.held]) {
      const { resolver } = this.processes[1];
      try {
        const { current } = await this.alone(resolver.resolve(token, 'reissue'));
        tips.add(current.jti);
        if (this.revokeEnded) this.violations.push('a token outlived the revocation');
        if ((current.version as number) < announced) this.violations.push('a token still lies');
      } catch (error) {
        const code = error instanceof JwtStateError ? error.code : String(error);
        const expected = this.revokeBegan && code === 'TOKEN_REVOKED';
        if (!expected) this.violations.push(`logged out by a race: ${code}`);
      }
    }
    if (tips.size > 1) this.violations.push(`${tips.size} tips of one session`);
  }

  private async checkAgainstTruth(token: VerifiedToken): Promise<void> {
    try {
      const { current } = await this.alone(this.processes[1].resolver.resolve(token, 'reissue'));
      if (current.version !== this.version) {
        this.violations.push(`past the deadline: ${current.version}, the truth is ${this.version}`);
      }
    } catch (error) {
      // By now its grace period is over; that is not a race.
      const code = error instanceof JwtStateError ? error.code : String(error);
      if (code !== 'TOKEN_SUPERSEDED') this.violations.push(`past the deadline: ${code}`);
    }
  }
}
