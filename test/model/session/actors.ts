import type { SessionCore } from '../../../lib/core/session-core.js';
import { JwtStateError } from '../../../lib/jwt-state.errors.js';
import { runInHandlerScope } from '../../../lib/reissue/handler-scope.js';
import type { VerifiedToken } from '../../../lib/token/verified-token.js';
import { type Client, genOf, type Login, type Session, SKEW, type World } from './world.js';

/** One thing that somebody does. */
export interface Act {
  readonly kind: keyof typeof acts;
  readonly process?: number;
  /** The `sid` is drawn at log-in; scenes name sessions by number. */
  readonly session?: number;
  readonly scope?: 'subject' | 'session';
  readonly pref?: string;
  readonly tenant?: string;
  readonly fails?: boolean;
  readonly move?: string;
  readonly what?: 'session' | 'subject' | 'others' | 'tenant';
  readonly ofSession?: boolean;
  readonly uses?: number;
  readonly old?: number;
  readonly tab?: boolean;
}

/** A handler threw, as an application's may. */
class HandlerError extends Error {}

export class Performer {
  constructor(
    private readonly world: World,
    private readonly name: string,
  ) {}

  /** Does it, and takes a refusal for an answer. */
  async perform(act: Act): Promise<void> {
    try {
      await acts[act.kind](this.world, `${this.name}:${act.kind}`, act);
    } catch (error) {
      if (error instanceof JwtStateError || error instanceof HandlerError) {
        const what = error instanceof JwtStateError ? error.code : 'the handler failed';
        this.world.stage.log(`${this.name}:${act.kind} ends: ${what}`);
        return;
      }
      throw error;
    }
  }
}

function sessionOf(world: World, { session = 0 }: Act): Session | undefined {
  return [...world.sessions.values()][session];
}

function coreOf(world: World, { process = 0 }: Act): SessionCore {
  return world.cores[process] as SessionCore;
}

async function request(world: World, who: string, act: Act): Promise<void> {
  const session = sessionOf(world, act);
  const holder = act.tab ? session?.tab : session?.client;
  if (!session || !holder) return;
  const isOld = act.old !== undefined;
  const all = world.tokens.filter((token) => token.sid === session.sid);
  const token = (isOld ? all[(act.old as number) - 1] : undefined) ?? holder.access;
  const floor = world.floorOf(session.sid);
  const began = world.stage.now;
  world.present(world.presented, token);
  try {
    checkExpiry(world, token, act);
    const { current, issued } = await coreOf(world, act).resolver.resolve(token, 'reissue');
    world.judgeRun(current, floor, who);
    world.judgeLate(token, began, who);
    if (issued) {
      world.tokens.push(issued.claims);
      if (!isOld && !world.isResponseLost(who)) world.take(holder, issued.claims);
    }
  } catch (error) {
    if (error instanceof JwtStateError && !isOld)
      world.judgeRefusal(session, token, error, who, holder);
    throw error;
  }
}

/** What the guard does before it asks the store. */
function checkExpiry(world: World, { exp }: VerifiedToken, { process = 0 }: Act): void {
  const now = world.stage.now + (world.setting.skew[process] ?? 0);
  if (now >= exp * 1000 + SKEW) throw new Expired();
}

class Expired extends JwtStateError {
  constructor() {
    super(401, 'TOKEN_EXPIRED', 'expired');
  }
}

async function refresh(
  world: World,
  who: string,
  act: Act,
  loot?: { refresh: VerifiedToken },
): Promise<void> {
  const session = sessionOf(world, act);
  if (!session) return;
  const { client } = session;
  const token = loot?.refresh ?? client.refresh;
  const floor = world.floorOf(session.sid);
  const began = world.stage.now;
  const used = world.uses.get(session.sid)?.get(genOf(token) + 2);
  world.present(world.presentedRefresh, token);
  const open = { jti: token.jti, began };
  world.openRefreshes.add(open);
  try {
    checkExpiry(world, token, act);
    const issued = await coreOf(world, act).refresher.refresh(token, world.stage.now);
    const [access, next] = [issued.claims, issued.refreshClaims as VerifiedToken];
    world.judgeRun(access, floor, who);
    world.judgeLateRefresh(token, used, began, who);
    world.tokens.push(access);
    world.refreshTokens.push(next);
    if (loot) {
      loot.refresh = next;
      return;
    }
    if (world.isResponseLost(who)) return;
    if (act.tab) session.tab ??= { access, refresh: next };
    world.take(act.tab ? (session.tab as Client) : client, access);
    world.takeRefresh(client, next);
  } catch (error) {
    if (error instanceof JwtStateError && !loot) {
      judgeRefreshRefusal(world, session, token, error, who);
    }
    throw error;
  } finally {
    world.openRefreshes.delete(open);
  }
}

/** An older refresh token than the client's, of a session that nobody has ended, may lead to nothing. */
function judgeRefreshRefusal(
  world: World,
  session: Session,
  token: VerifiedToken,
  error: JwtStateError,
  who: string,
): void {
  if (error.getStatus() === 503 || error.code === 'TOKEN_EXPIRED') return;
  if (world.mayBeRefused(session, token)) return;
  world.bad(3, `${who} is logged out: ${error.code} for r${genOf(token)}`);
}

async function visit(world: World, who: string, act: Act): Promise<void> {
  try {
    await request(world, who, act);
  } catch (error) {
    if (!(error instanceof JwtStateError) || error.code !== 'TOKEN_EXPIRED') throw error;
    await refresh(world, who, act);
    await request(world, who, act);
  }
}

async function handler(world: World, who: string, act: Act): Promise<void> {
  const session = sessionOf(world, act);
  if (!session) return;
  const { process = 0, scope = 'subject', pref, tenant, fails } = act;
  const { client, sid } = session;
  const token = client.access;
  const floor = world.floorOf(sid);
  const { resolver, protocol } = coreOf(world, act);
  world.present(world.presented, token);
  let version: number | undefined;
  let isUnsure = false;
  try {
    checkExpiry(world, token, act);
    const resolved = await resolver.resolve(token, 'leave');
    const commit = await protocol.begin(resolved, scope);
    world.judgeRun(resolved.current, floor, who);
    try {
      await runInHandlerScope(commit.handler, async () => {
        if (scope === 'subject') {
          version = await world.stage.step(process, 'commit of the application', () => {
            const skew = world.setting.skew[process] ?? 0;
            isUnsure = world.stage.now > commit.mustBeginBefore - skew - SKEW;
            if (isUnsure) world.truthUnsure += 1;
            world.stage.log(`${who} COMMITS v${world.version + 1}`);
            return ++world.version;
          });
        } else {
          await world.stage.step(process, 'the handler', () => {});
        }
        if (fails) throw new HandlerError();
        if (pref !== undefined || tenant !== undefined) {
          commit.handler.stage({
            ...(pref !== undefined && { pref }),
            ...(tenant !== undefined && { tenant }),
          });
        }
      });
    } catch (error) {
      await commit.abandon().catch(() => {});
      throw error;
    }
    await commit.close();
    if (isUnsure) world.truthUnsure -= 1;
    const issued = await commit.replace().catch((error) => {
      if (commit.hasChanges) throw error;
      return undefined;
    });
    if (version !== undefined) world.announced = Math.max(world.announced, version);
    if (pref !== undefined) {
      const index = world.order.indexOf(pref);
      const before = world.announcedChoice.get(sid) ?? -1;
      world.announcedChoice.set(sid, Math.max(before, index));
      if (index < 0 && !world.isLost)
        world.bad(6, `${who}: ${pref} was answered as done and is nowhere`);
    }
    if (issued) {
      world.tokens.push(issued.claims);
      if (!world.isResponseLost(who)) world.take(client, issued.claims);
    }
  } catch (error) {
    if (error instanceof JwtStateError) world.judgeRefusal(session, token, error, who, client);
    throw error;
  }
}

/** An administrator, a webhook, a job. */
async function admin(world: World, who: string, act: Act): Promise<void> {
  const session = sessionOf(world, act);
  if (!session) return;
  const version = await world.stage.step(act.process ?? 0, 'commit of the application', () => {
    if (act.move) world.assigned = act.move;
    world.stage.log(`${who} COMMITS v${world.version + 1}${act.move ? ` to ${act.move}` : ''}`);
    return ++world.version;
  });
  world.unmarked += 1;
  const scope = act.ofSession
    ? { name: 'sid', value: session.sid }
    : { name: 'sub', value: session.sub };
  await coreOf(world, act).marks.markStale(scope);
  world.unmarked -= 1;
  if (!act.ofSession) world.announced = Math.max(world.announced, version);
}

async function revoke(world: World, _who: string, act: Act): Promise<void> {
  const session = sessionOf(world, act);
  if (!session) return;
  const { ender, marks, others } = coreOf(world, act);
  const { what = 'session', tenant = 'acme' } = act;
  const all = [...world.sessions.values()];
  const ofSubject = all.filter(({ sub }) => sub === session.sub);
  const hit = {
    session: [session],
    subject: ofSubject,
    others: ofSubject.filter((other) => other !== session),
    tenant: [] as Session[],
  }[what];
  for (const one of hit) one.maybe = true;
  if (what === 'tenant') {
    const before = world.tenantRevocations.length;
    await marks.revoke({ name: 'tenant', value: tenant });
    for (const revocation of world.tenantRevocations.slice(before)) {
      if (revocation.tenant !== tenant) continue;
      for (const sid of revocation.hit) (world.sessions.get(sid) as Session).dead = true;
    }
    return;
  }
  world.revokesOpen += 1;
  const logins = what === 'session' ? [] : [...world.logins];
  for (const one of logins) one.maybe = true;
  const read = logins.filter(({ hasRead }) => hasRead);
  try {
    if (what === 'session') await ender.end(session.sid, 'request');
    else if (what === 'subject') await marks.revoke({ name: 'sub', value: session.sub });
    else await others.revokeOthers(session.client.access);
  } catch (error) {
    world.strayRevoke = true;
    throw error;
  }
  world.revokesOpen -= 1;
  for (const one of read) (one.entered ?? one).dead = true;
  for (const one of hit) {
    one.dead = true;
    if (what === 'session') one.how = 'session';
  }
}

/** The subject is deleted. */
async function gone(world: World, who: string, act: Act): Promise<void> {
  const session = sessionOf(world, act);
  if (!session) return;
  await world.stage.step(act.process ?? 0, 'commit of the application', () => {
    world.stage.log(`${who} COMMITS: the subject is gone`);
    world.isGone = true;
    for (const one of world.sessions.values()) one.maybe = true;
  });
  await coreOf(world, act).marks.markStale({ name: 'sub', value: session.sub });
  for (const one of world.sessions.values()) one.dead = true;
}

async function login(world: World, _who: string, act: Act): Promise<void> {
  const { starter } = coreOf(world, act);
  const login: Login = {
    hasRead: false,
    maybe: world.revokesOpen > 0 || world.strayRevoke,
    dead: false,
  };
  world.logins.add(login);
  const begun = await starter.begin('u1', { tenant: 'acme' });
  login.hasRead = true;
  await world.stage.step(act.process ?? 0, 'password', () => {});
  const issued = await starter.start(begun);
  world.logins.delete(login);
  login.entered = enter(world, 'u1', issued.claims, issued.refreshClaims as VerifiedToken);
  login.entered.maybe = login.maybe;
  login.entered.dead = login.dead;
}

/** Copies the refresh token that the client holds, and presents it later. */
async function thief(world: World, who: string, act: Act): Promise<void> {
  const session = sessionOf(world, act);
  if (!session) return;
  const { process = 1, uses = 1 } = act;
  await world.stage.step(process, 'theft', () => {});
  const loot = { refresh: session.client.refresh };
  session.maybe = true;
  for (let use = 0; use < uses; use++) {
    await world.stage.step(process, 'pause', () => {});
    await refresh(world, who, { ...act, process }, loot);
  }
}

const acts = { request, refresh, visit, handler, admin, revoke, gone, login, thief };

export function enter(
  world: World,
  sub: string,
  access: VerifiedToken,
  refreshToken: VerifiedToken,
  maybe = false,
): Session {
  const { sid } = access;
  const client = { access, refresh: refreshToken };
  const session: Session = { sid, sub, maybe, dead: false, client };
  world.sessions.set(sid, session);
  world.place.set(sid, access.tenant);
  world.tokens.push(access);
  world.refreshTokens.push(refreshToken);
  return session;
}
