import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CompiledProgram } from './compiled-program.js';
import { KeepAliveClient } from './keep-alive-client.js';
import { ServiceProcess } from './service-process.js';
import { hostTime, type Stall, Stalls } from './stalls.js';
import { until } from './until.js';
import {
  type Answer,
  type Kind,
  LOOKUP_TIMEOUT_MS,
  type Session,
  type Target,
  Watch,
} from './watch.js';

const SCRIPT = 'test/support/loaded-service.ts';
/** How many requests to one service are under way at once. */
const READERS = 8;
const CONNECTIONS = READERS + 8;
/** What one reader waits between two requests, in ms. */
const THINK_MS = 30;
const LIVE_SESSIONS = 40;
const READY_WITHIN_MS = 15_000;
const REMEMBERED_REVOCATIONS = 60;
/** A session that is revoked has been seen by every near copy, as a rule, in ms. */
const SEEN_AFTER_MS = 300;
/** So long everything must go well before the fault is called over, in ms. */
const CALM_MS = 500;
/** On a machine that does other things as well an answer may always come too late. */
const TOLERATED_SHARE = 0.1;
/** How long a token that was revoked is tried at once and again, in ms. */
const PURSUIT_MS = 2_000;

/** A process of its own with the module and a deny list on Redis. */
export class LoadedService implements Target {
  readonly client: KeepAliveClient;

  private constructor(
    readonly name: string,
    readonly process: ServiceProcess,
    readonly hasNearCopy: boolean,
  ) {
    this.client = new KeepAliveClient(process.url, CONNECTIONS);
  }

  /** @param denyLists the options of `redisDenyList()`, by the name of the service */
  static async start(denyLists: Readonly<Record<string, object>>): Promise<LoadedService[]> {
    const program = await CompiledProgram.of(SCRIPT, 'test/support/stalls.ts');
    const services = Object.entries(denyLists).map(async ([name, denyList]) => {
      const process = await ServiceProcess.start(program.pathOf(SCRIPT), /listens on/, {
        DENY_LIST: JSON.stringify(denyList),
        LOOKUP_TIMEOUT_MS: String(LOOKUP_TIMEOUT_MS),
      });
      const hasNearCopy =
        !('cluster' in denyList) && (denyList as { nearCopy?: unknown }).nearCopy !== false;
      return new LoadedService(name, process, hasNearCopy);
    });
    return Promise.all(services).finally(() => program.remove());
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.process.stop();
  }
}

export interface LoadReport {
  readonly violations: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
  readonly acceptedAfter: Readonly<Record<string, number>>;
  readonly slowest: Readonly<Record<string, number>>;
  readonly stalled: number;
}

const running = new Set<Load>();

/**
 * Traffic of clients that log in, look, change and revoke at several services on one store, without a
 * pause, and a watch over every answer.
 */
export class Load {
  readonly watch = new Watch();
  private readonly stalls = new Stalls();
  private readonly loops: Promise<void>[] = [];
  private live: Session[] = [];
  private revoked: Session[] = [];
  private isOver = false;
  private users = 0;

  private constructor(
    private readonly services: readonly LoadedService[],
    /** After `revoke()` was confirmed: that the store keeps it over the fault to come, too. */
    private readonly assured: () => Promise<unknown>,
  ) {}

  /** Begins, and goes on alone once everything runs. */
  static async on(
    services: readonly LoadedService[],
    assured: () => Promise<unknown> = async () => {},
  ): Promise<Load> {
    const load = new Load(services, assured);
    running.add(load);
    load.begin();
    await until(() => load.live.length >= LIVE_SESSIONS / 2, READY_WITHIN_MS);
    await load.calm(READY_WITHIN_MS);
    return load;
  }

  /**
   * Waits until all is well again, at every service and with every kind of request.
   *
   * @returns how long after the call that was, in ms
   */
  async calm(within: number): Promise<number> {
    const began = hostTime();
    for (;;) {
      const now = hostTime();
      if (now - began > CALM_MS && this.isCalm(now - CALM_MS) && this.hasSeenAll(began)) {
        return Math.round(now - began - CALM_MS);
      }
      if (now - began > within) throw new Error(`Not well in time: ${this.summary}`);
      await sleep(25);
    }
  }

  /** For `afterEach`: a test that has failed leaves its clients running. */
  static async stopAll(): Promise<void> {
    await Promise.all([...running].map((load) => load.stop()));
  }

  private async stop(): Promise<void> {
    this.isOver = true;
    await Promise.all(this.loops);
    this.stalls.stop();
    running.delete(this);
  }

  /** Something by which the store loses its entries: who logged in before it may have to do so again. */
  async losing(fault: () => Promise<unknown>): Promise<void> {
    this.watch.lostBefore = Number.POSITIVE_INFINITY;
    await fault();
    this.watch.lostBefore = hostTime();
  }

  /** The same, and nothing may tell: revocations confirmed before may be forgotten. */
  async forgetting(fault: () => Promise<unknown>): Promise<void> {
    this.watch.forgottenBefore = Number.POSITIVE_INFINITY;
    await this.losing(fault);
    this.watch.forgottenBefore = hostTime();
  }

  /** What was answered while something went on, by kind and outcome. */
  async during(fault: () => Promise<unknown>): Promise<Readonly<Record<string, number>>> {
    const before = { ...this.watch.counts };
    await fault();
    const counts = Object.entries(this.watch.counts);
    return Object.fromEntries(
      counts.map(([name, count]) => [name, count - (before[name] ?? 0)]).filter(([, n]) => n),
    );
  }

  /** Ends, and says what was seen. */
  async end(): Promise<LoadReport> {
    await this.stop();
    const { violations, counts, acceptedAfter } = this.watch;
    const theirs = new Map<Target, readonly Stall[]>();
    for (const service of this.services) {
      const { process, name } = service;
      if (process.hasEnded) violations.push(`${name} has ended:\n${process.output}`);
      else theirs.set(service, (await service.client.send('GET', '/stalls')).body);
    }
    const stallsOf = (target: Target) => [...this.stalls.seen, ...(theirs.get(target) ?? [])];
    return {
      violations: [...violations, ...this.watch.overdue(stallsOf)],
      counts,
      acceptedAfter,
      slowest: this.watch.slowest(stallsOf),
      stalled: Math.round(Math.max(0, ...this.stalls.seen.map(({ from, to }) => to - from))),
    };
  }

  private get summary(): string {
    const { counts, violations } = this.watch;
    return JSON.stringify({ counts, violations: violations.slice(0, 5) });
  }

  private begin(): void {
    for (const service of this.services) {
      for (let n = 0; n < READERS; n++) this.loop(THINK_MS, () => this.look(service));
      this.loop(60, () => this.change(service));
      this.loop(30, () => this.logIn(service));
      this.loop(150, () => this.revoke(service));
    }
  }

  private loop(pause: number, step: () => Promise<unknown>): void {
    const run = async () => {
      await sleep(Math.random() * pause);
      while (!this.isOver) {
        await step();
        await sleep(pause * (0.5 + Math.random()));
      }
    };
    this.loops.push(run());
  }

  // --- what clients do -----------------------------------------------------------------------

  private async look(service: LoadedService): Promise<void> {
    const sessions = Math.random() < 0.3 && this.revoked.length > 0 ? this.revoked : this.live;
    const session = oneOf(sessions);
    if (session) await this.lookAt(service, session);
  }

  private async lookAt(service: LoadedService, session: Session) {
    return this.ask('look', service, session, 'GET', '/me', { token: session.token });
  }

  private async change(service: LoadedService): Promise<void> {
    const session = oneOf(this.live);
    if (!session) return;
    await this.ask('change', service, session, 'POST', '/change', { token: session.token });
  }

  private async logIn(service: LoadedService): Promise<void> {
    this.live = this.live.filter(({ isLost }) => !isLost);
    if (this.live.length >= LIVE_SESSIONS) return;
    const startedAt = hostTime();
    const user = `user-${this.users++}`;
    const reply = await this.ask('log-in', service, undefined, 'POST', '/login', {
      body: { user },
    });
    if (reply?.status === 200) this.live.push({ ...reply.body, startedAt });
  }

  private async revoke(service: LoadedService): Promise<void> {
    const asked = this.live.find(({ revokeAskedAt }) => revokeAskedAt !== undefined);
    const old = this.live.filter(({ startedAt }) => hostTime() - startedAt > SEEN_AFTER_MS);
    // What was not confirmed is tried again, as an application would.
    const session = asked ?? oneOf(old);
    if (!session) return;
    session.revokeAskedAt ??= hostTime();
    const { sid } = session;
    const reply = await this.ask('revoke', service, session, 'POST', '/revoke', { body: { sid } });
    if (reply?.status !== 200 || session.revoked) return;
    const isAssured = await this.assured().then(
      () => true,
      () => false,
    );
    if (!isAssured || session.revoked) return;
    session.revoked = { at: hostTime(), by: service };
    this.live = this.live.filter((other) => other !== session);
    this.revoked = [...this.revoked, session].slice(-REMEMBERED_REVOCATIONS);
    this.loops.push(...this.services.map((target) => this.pursue(target, session)));
  }

  /** Whoever was shut out tries at once, everywhere. */
  private async pursue(service: LoadedService, session: Session): Promise<void> {
    const end = hostTime() + PURSUIT_MS;
    while (!this.isOver && hostTime() < end) {
      const reply = await this.lookAt(service, session);
      if (reply?.status === 401) return;
      await sleep(5);
    }
  }

  private async ask(
    kind: Kind,
    service: LoadedService,
    session: Session | undefined,
    ...[method, path, content]: Parameters<KeepAliveClient['send']>
  ) {
    const from = hostTime();
    const reply = await service.client.send(method, path, content).catch((error: Error) => error);
    this.watch.take({ kind, target: service, session, reply, from, to: hostTime() });
    if (reply instanceof Error) return undefined;
    if (session && reply.token !== undefined && idOf(reply.token) > idOf(session.token)) {
      session.token = reply.token;
    }
    return reply;
  }

  private isCalm(since: number): boolean {
    const seen = this.watch.since(since);
    return seen.filter(isTrouble).length <= seen.length * TOLERATED_SHARE;
  }

  /** Every kind of request has gone well everywhere, and somebody who is shut out was refused. */
  private hasSeenAll(since: number): boolean {
    const seen = this.watch.since(since);
    const kinds: Kind[] = ['look', 'change', 'revoke'];
    const went = new Set(seen.filter(hasRun).map(({ target, kind }) => `${kind} ${target.name}`));
    const haveRun = this.services.every(({ name }) =>
      kinds.every((kind) => went.has(`${kind} ${name}`)),
    );
    return haveRun && seen.some(isRefusal);
  }
}

function hasRun({ reply }: Answer): boolean {
  return !(reply instanceof Error) && reply.status === 200;
}

function isRefusal({ reply, session }: Answer): boolean {
  return session?.revoked !== undefined && !(reply instanceof Error) && reply.status === 401;
}

function isTrouble({ reply }: Answer): boolean {
  return reply instanceof Error || reply.status === 503;
}

function oneOf<T>(list: readonly T[]): T | undefined {
  return list[Math.floor(Math.random() * list.length)];
}

/** Of two tokens of one session the one with the greater id is the newer. */
function idOf(token: string): string {
  const payload = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  return payload.jti;
}

/** For whoever wants figures: a line for each fault, in the file that FAULT_FIGURES names. */
export function report(fault: string, seen: LoadReport, recovery: number): void {
  const { slowest, acceptedAfter, stalled, counts } = seen;
  const line = JSON.stringify({ fault, recovery, slowest, acceptedAfter, stalled, counts });
  if (process.env.FAULT_FIGURES) appendFileSync(process.env.FAULT_FIGURES, `${line}\n`);
}
