import { describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import type { DenyListStore } from '../../lib/deny-list/deny-list.store.js';
import { MemoryAdapter } from '../../lib/deny-list/memory.adapter.js';
import { MemoryStore } from '../../lib/deny-list/memory.store.js';
import type { PendingCommit } from '../../lib/reissue/commit-protocol.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { NearPairStore } from '../support/pair-store.js';
import { assembled, ending } from '../support/setup.js';

/*
 * What nearly every request is decided by: what this process can say of a token by itself. It may say
 * nothing, and it may say that the token is active, but only where the store would say so, too.
 */

Logger.overrideLogger(false);

/** Those that can say something by themselves. */
const STORES = {
  'the deny list in memory': () => {
    const adapter = new MemoryAdapter();
    return { store: new MemoryStore(adapter), clear: () => adapter.clear() };
  },
  'a near copy': (clock: FakeClock) => {
    const store = new NearPairStore(clock);
    return { store, clear: () => store.clear() };
  },
} satisfies Record<string, (clock: FakeClock) => { store: DenyListStore; clear(): void }>;

function world(
  make: (typeof STORES)[keyof typeof STORES],
  onLoss: 'reject' | 'reissue' | 'accept',
) {
  const clock = new FakeClock();
  const { store, clear } = make(clock);
  const assembly = assembled(
    {
      accessToken: { expiresIn: '1h' },
      denyList: { claims: ['tenant'], onLoss },
      claims: (sub) => ({ tenant: sub === 'carol' ? 'globex' : 'acme' }),
    },
    { clock, store },
  );
  return { clock, clear, ...assembly };
}
type World = ReturnType<typeof world>;

const STEPS = {
  'a log-in': async ({ tokens }: World) => [await tokens.issue('alice')],
  'a log-in of another': async ({ tokens }: World) => [await tokens.issue('carol')],
  'a reissue': async ({ tokens }: World, { claims }: IssuedToken) => [await tokens.reissue(claims)],
  'a request': async ({ resolver }: World, { claims }: IssuedToken) => {
    const { issued } = await resolver.resolve(claims, 'reissue');
    return issued ? [issued] : [];
  },
  'the end of a session': ({ tokens }: World, { claims }: IssuedToken) =>
    tokens.revoke({ sid: claims.sid }),
  'the end of all sessions': ({ tokens }: World, { claims }: IssuedToken) =>
    tokens.revoke({ sub: claims.sub }),
  'the end of all others': ({ tokens }: World, { claims }: IssuedToken) =>
    tokens.revoke({ sub: claims.sub, except: claims }),
  'the end of a tenant': ({ tokens }: World, { claims }: IssuedToken) =>
    tokens.revoke({ tenant: claims.tenant as string }),
  'a change of the user': ({ tokens }: World, { claims }: IssuedToken) =>
    tokens.markStale({ sub: claims.sub }),
  'a change of the tenant': ({ tokens }: World, { claims }: IssuedToken) =>
    tokens.markStale({ tenant: claims.tenant as string }),
  'a handler begins': async (w: World, { claims }: IssuedToken, open: PendingCommit[]) => {
    open.push(await w.protocol.begin(await w.resolver.resolve(claims, 'leave'), 'subject'));
  },
  'a handler ends': async (_: World, __: IssuedToken, open: PendingCommit[]) => {
    await open.shift()?.close();
  },
  'a second passes': ({ clock }: World) => clock.advance(1_000),
  'half a minute passes': ({ clock }: World) => clock.advance(30_000),
  'more than a handler may take passes': ({ clock }: World) => clock.advance(70_000),
  'the store is emptied': ({ clear }: World) => clear(),
} satisfies Record<
  string,
  (w: World, of: IssuedToken, open: PendingCommit[]) => unknown | Promise<unknown>
>;

/** What the process says before the store was asked, and after. @returns whether it said something */
async function compare({ denyList }: World, token: VerifiedToken): Promise<boolean> {
  const before = denyList.recall(token);
  await denyList.look(token);
  const after = denyList.recall(token);
  const again = denyList.recall(token);
  const { verdict, snapshot } = await denyList.lookInStore(token);
  for (const said of [before, after, again]) {
    if (!said) continue;
    expect(said.verdict).toEqual({ state: 'active' });
    expect(verdict).toEqual({ state: 'active' });
    expect(said.snapshot).toMatchObject({ epoch: snapshot.epoch, marks: snapshot.marks });
  }
  return after !== undefined;
}

describe.each(Object.entries(STORES))('what %s says by itself', (_, make) => {
  it.each(['reject', 'reissue', 'accept'] as const)(
    'the store would say, too, whatever has happened (onLoss: %s)',
    async (onLoss) => {
      const heard = new Map<boolean, number>();
      const step = fc.record({
        what: fc.constantFrom(...(Object.keys(STEPS) as (keyof typeof STEPS)[])),
        whose: fc.nat(20),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          const w = world(make, onLoss);
          const issued = [await w.tokens.issue('alice'), await w.tokens.issue('alice')];
          const open: PendingCommit[] = [];
          for (const { what, whose } of steps) {
            const of = issued[whose % issued.length] as IssuedToken;
            try {
              const brought = await STEPS[what](w, of, open);
              if (Array.isArray(brought)) issued.push(...(brought as IssuedToken[]));
            } catch (error) {
              // A token that is revoked, say, is not reissued.
              await ending(Promise.reject(error));
            }
            for (const { claims } of issued) {
              const hasSaid = await compare(w, claims);
              heard.set(hasSaid, (heard.get(hasSaid) ?? 0) + 1);
            }
          }
        }),
        { numRuns: 150 },
      );
      // Neither always nor never.
      expect(heard.get(true)).toBeGreaterThan(100);
      expect(heard.get(false)).toBeGreaterThan(100);
    },
  );

  it('ends with the deadline of a token that knows of no mark any more', async () => {
    const w = world(make, 'accept');
    const { claims } = await w.tokens.issue('alice');
    await w.protocol.begin(await w.resolver.resolve(claims, 'leave'), 'subject');
    const provisional = (await w.tokens.issue('alice')).claims;
    expect(provisional.seen.until).toBeDefined();
    w.clear();
    await w.denyList.lookInStore(provisional);
    await compare(w, provisional);
    expect((await w.denyList.look(provisional)).verdict.state).toBe('active');
    w.clock.advance(70_000);
    expect(w.denyList.recall(provisional)).toBeUndefined();
    expect((await w.denyList.look(provisional)).verdict.state).toBe('stale');
  });

  it('is not made anew while nothing changes, and is gone when something does', async () => {
    const w = world(make, 'reject');
    const { claims } = await w.tokens.issue('alice');
    await w.denyList.look(claims);
    const said = w.denyList.recall(claims);
    expect(said?.verdict.state).toBe('active');
    expect(w.denyList.recall(claims)).toBe(said);
    await w.tokens.revoke({ sid: claims.sid });
    expect(w.denyList.recall(claims)).toBeUndefined();
    expect((await w.denyList.look(claims)).verdict.state).toBe('revoked');
  });
});
