import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from '@jest/globals';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { ChangeScope } from '../../lib/reissue/commit-protocol.js';
import { runInHandlerScope } from '../../lib/reissue/handler-scope.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { PairStore } from '../support/pair-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

/** `reissue.handlerTimeout`, and 5 s for the clocks of other hosts. */
const DEADLINE = 60_000 + 5_000;

const clock = new FakeClock();
let store: MemoryStore;
let truth: Record<string, unknown>;

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new MemoryStore(clock);
  truth = { plan: 'free' };
});

function service(options: Partial<JwtStateOptions> = {}) {
  const assembly = assembled(
    { accessToken: { expiresIn: '1h' }, claims: () => ({ ...truth }), ...options },
    { clock, store },
  );
  const { resolver, protocol } = assembly;
  return {
    ...assembly,
    /** A handler that has got past step 1. */
    begin: async (token: VerifiedToken, scope: ChangeScope = 'subject') =>
      protocol.begin(await resolver.resolve(token, 'leave'), scope),
    /** What a request with this token runs with. */
    request: async (token: VerifiedToken) => (await resolver.resolve(token, 'reissue')).current,
  };
}

const staleMark = () => store.get(storeKeys.stale({ name: 'sub', value: 'alice' }));

describe('before the handler', () => {
  it('the subject’s tokens are stale, on all devices', async () => {
    const { tokens, begin } = service();
    const [mine, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    const somebody = await tokens.issue('bob');
    await begin(mine.claims);
    expect(await ending(tokens.verify(mine.accessToken))).toBe('TOKEN_STALE');
    expect(await ending(tokens.verify(other.accessToken))).toBe('TOKEN_STALE');
    expect(await ending(tokens.verify(somebody.accessToken))).toBe('ok');
  });

  it('a change of the session makes only its own tokens stale', async () => {
    const { tokens, begin } = service();
    const [mine, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    const commit = await begin(mine.claims, 'session');
    expect(await ending(tokens.verify(mine.accessToken))).toBe('TOKEN_STALE');
    await commit.close();
    const issued = await commit.replace();
    expect(await ending(tokens.verify(other.accessToken))).toBe('ok');
    expect((await tokens.verify(mine.accessToken)).jti).toBe(issued?.claims.jti);
  });

  it.each(['reject', 'accept'] as const)(
    'a store that does not take the mark stops it, onUnavailable: %s',
    async (onUnavailable) => {
      const { tokens, resolver, protocol } = service({ denyList: { onUnavailable } });
      const issued = await tokens.issue('alice');
      const resolved = await resolver.resolve(issued.claims, 'leave');
      store.onOperation = () => 'lost';
      expect(await ending(protocol.begin(resolved, 'subject'))).toBe('DENY_LIST_UNAVAILABLE');
    },
  );
});

describe('a token issued while a handler is at work', () => {
  it('is provisional until the handler’s deadline', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    await begin(mine.claims);
    clock.advance(1_000);
    const issued = await tokens.issue('alice');
    expect(issued.claims.seen.until).toBe(clock.now() - 1_000 + DEADLINE);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
  });

  it.each([
    [-1, 'ok'],
    [0, 'TOKEN_STALE'],
    [1, 'TOKEN_STALE'],
  ])('%p ms after that deadline: %s', async (offset, expected) => {
    const { tokens, begin } = service();
    await begin((await tokens.issue('alice')).claims);
    const issued = await tokens.issue('alice');
    clock.advance(DEADLINE + offset);
    expect(await ending(tokens.verify(issued.accessToken))).toBe(expected);
  });

  it.each(['close', 'abandon'] as const)('is stale when the handler has ended: %s', async (end) => {
    const { tokens, begin } = service();
    const commit = await begin((await tokens.issue('alice')).claims);
    const issued = await tokens.issue('alice');
    await commit[end]();
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
  });

  it('and one issued after it are told apart: that is not provisional', async () => {
    const { tokens, begin } = service();
    const commit = await begin((await tokens.issue('alice')).claims);
    await commit.close();
    const issued = await tokens.issue('alice');
    expect(issued.claims.seen.until).toBeUndefined();
    clock.advance(DEADLINE + 1);
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
  });

  it('records no deadline that had passed when the mark was read', async () => {
    const { tokens, begin } = service();
    await begin((await tokens.issue('alice')).claims);
    clock.advance(DEADLINE);
    const issued = await tokens.issue('alice');
    expect(issued.claims.seen.until).toBeUndefined();
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
  });

  it('was issued on another host, whose clock is 5 s behind: the deadline holds there', async () => {
    const { tokens, begin } = service();
    await begin((await tokens.issue('alice')).claims);
    const behind = assembled(
      { accessToken: { expiresIn: '1h' }, claims: () => truth },
      { clock: clock.ahead(-5_000), store },
    );
    clock.advance(60_000);
    const issued = await behind.tokens.issue('alice');
    expect(issued.claims.seen.until).toBeDefined();
  });
});

describe('a handler that fails', () => {
  it('may have changed something, and may go on: others stay provisional to its deadline', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    const until = clock.now() + DEADLINE;
    await commit.abandon();
    expect(await ending(tokens.verify(mine.accessToken))).toBe('TOKEN_STALE');
    expect((await tokens.issue('alice')).claims.seen.until).toBe(until);
  });

  it('a thousand times does not fill the mark', async () => {
    const { tokens, begin } = service();
    let token = (await tokens.issue('alice')).claims;
    for (let i = 0; i < 100; i++) {
      const commit = await begin(token);
      await commit.abandon();
      token = await service().request(token);
      clock.advance(10);
    }
    expect(staleMark()?.length).toBeLessThan(200);
  });
});

describe('another handler’s deadline is kept', () => {
  it.each([
    ['the first', 0, 1],
    ['the second', 1, 0],
  ])('when %s ends before the other', async (_, first, second) => {
    const { tokens, begin } = service();
    const { claims } = await tokens.issue('alice');
    const begun = clock.now();
    const one = await begin(claims);
    clock.advance(10_000);
    const two = await begin(claims);
    const commits = [one, two] as const;
    await commits[first as 0 | 1].close();
    const issued = await tokens.issue('alice');
    expect(issued.claims.seen.until).toBe(begun + DEADLINE + (second === 1 ? 10_000 : 0));
    await commits[second as 0 | 1].close();
    expect((await tokens.issue('alice')).claims.seen.until).toBeUndefined();
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_STALE');
  });

  it('by a change from elsewhere', async () => {
    const { tokens, begin } = service();
    await begin((await tokens.issue('alice')).claims);
    const until = clock.now() + DEADLINE;
    await tokens.markStale({ sub: 'alice' });
    expect((await tokens.issue('alice')).claims.seen.until).toBe(until);
  });

  it('not when it has passed: a handler that died does not make tokens provisional for ever', async () => {
    const { tokens, begin } = service();
    await begin((await tokens.issue('alice')).claims);
    clock.advance(DEADLINE);
    await tokens.markStale({ sub: 'alice' });
    expect(staleMark()).not.toContain('=');
  });

  it('among many at once, and none of their marks is lost', async () => {
    const { tokens, begin } = service();
    const { claims } = await tokens.issue('alice');
    const commits = await Promise.all(Array.from({ length: 10 }, () => begin(claims)));
    expect(staleMark()?.match(/=/g)).toHaveLength(10);
    await Promise.all(commits.map((commit) => commit.close()));
    expect(staleMark()).not.toContain('=');
  });

  it('fifty changes of one scope at once are all confirmed', async () => {
    const { tokens } = service();
    const all = Array.from({ length: 50 }, () => ending(tokens.markStale({ sub: 'alice' })));
    expect(new Set(await Promise.all(all))).toEqual(new Set(['ok']));
  });
});

describe('after a success', () => {
  it('the client’s token is replaced by one with the new truth', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    truth = { plan: 'premium' };
    await commit.close();
    const issued = (await commit.replace()) as IssuedToken;
    expect(issued.claims.plan).toBe('premium');
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
    expect((await tokens.verify(mine.accessToken)).jti).toBe(issued.claims.jti);
  });

  it('also where the store has answered the look before it took the mark', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    store.onOperation = async ({ verb }) => {
      if (verb === 'writeIfUnchanged') await sleep(20);
      return undefined;
    };
    truth = { plan: 'premium' };
    await commit.close();
    const issued = (await commit.replace()) as IssuedToken;
    expect(issued.claims.plan).toBe('premium');
    expect((await tokens.verify(issued.accessToken)).jti).toBe(issued.claims.jti);
  });

  it('other devices get the new truth at their next request', async () => {
    const { tokens, begin, request } = service();
    const [mine, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    const commit = await begin(mine.claims);
    truth = { plan: 'premium' };
    await commit.close();
    expect((await request(other.claims)).plan).toBe('premium');
  });

  it('a token reissued by another request meanwhile is the one that is replaced', async () => {
    const { tokens, begin, request, resolver } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    const meanwhile = await request(mine.claims);
    truth = { plan: 'premium' };
    await commit.close();
    const issued = (await commit.replace()) as IssuedToken;
    for (const token of [mine.claims, meanwhile]) {
      const { current } = await resolver.resolve(token, 'reissue');
      expect(current).toMatchObject({ jti: issued.claims.jti, plan: 'premium' });
    }
  });

  it('a session revoked meanwhile is not revived', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    await tokens.revoke(mine.claims);
    await commit.close();
    expect(await ending(commit.replace())).toBe('TOKEN_REVOKED');
    expect(await ending(tokens.verify(mine.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('a final mark that is not confirmed is an error; the deadline covers it', async () => {
    const { tokens, begin, request } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    const provisional = await request(mine.claims);
    truth = { plan: 'premium' };
    store.onOperation = ({ verb }) => (verb === 'writeIfUnchanged' ? 'lost' : undefined);
    expect(await ending(commit.close())).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    // It could not be replaced, so it lies; no longer than to the deadline.
    expect((await request(provisional)).plan).toBe('free');
    clock.advance(DEADLINE);
    expect((await request(provisional)).plan).toBe('premium');
  });
});

describe('over one connection', () => {
  it('is three round trips: a mark, the final mark and a look behind it, the successor', async () => {
    store = new PairStore(clock);
    const { tokens, resolver, protocol } = service();
    let { claims } = await tokens.issue('alice');
    for (let again = 0; again < 3; again++) {
      const resolved = await resolver.resolve(claims, 'leave');
      const breaths: string[][] = [];
      const breath = async <T>(run: () => Promise<T>): Promise<T> => {
        const before = store.operations.length;
        const done = run();
        const asked = store.operations.slice(before);
        const result = await done;
        // Nothing more was asked after the first answer.
        expect(store.operations).toHaveLength(before + asked.length);
        breaths.push(asked.map(({ verb, key }) => `${verb} ${key.split(':')[1]}`));
        return result;
      };
      const commit = await breath(() => protocol.begin(resolved, 'subject'));
      await breath(() => commit.close());
      const from = store.operations.length;
      const issued = (await commit.replace()) as IssuedToken;
      expect(store.operations.slice(from).map(({ verb }) => verb)).toEqual(['writeBothIfAbsent']);
      expect(breaths).toEqual([
        ['writeIfUnchanged stale', 'read witness'],
        ['writeIfUnchanged stale', 'read witness', 'read next'],
      ]);
      ({ claims } = issued);
      clock.advance(70_000);
    }
  });
});

describe('a process that dies in the handler', () => {
  it('leaves the old tokens stale', async () => {
    const { tokens, begin, request } = service();
    const [mine, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    await begin(mine.claims);
    truth = { plan: 'premium' };
    expect((await request(mine.claims)).plan).toBe('premium');
    expect((await request(other.claims)).plan).toBe('premium');
  });

  it('leaves tokens made before its commit provisional, and they end with its deadline', async () => {
    const { tokens, begin, request } = service();
    const mine = await tokens.issue('alice');
    await begin(mine.claims);
    const provisional = await request(mine.claims);
    expect(provisional.plan).toBe('free');
    truth = { plan: 'premium' };
    clock.advance(DEADLINE - 1);
    expect((await request(provisional)).plan).toBe('free');
    clock.advance(1);
    const last = await request(provisional);
    expect(last.plan).toBe('premium');
    clock.advance(600_000);
    expect((await request(last)).jti).toBe(last.jti);
  });
});

describe('changes staged in the handler', () => {
  it('take effect after it, laid over the truth', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    const promised = await runInHandlerScope(commit.handler, async () => {
      await tokens.reissue(mine.claims, { tenant: 'globex' });
      return tokens.reissue(mine.claims, { theme: 'dark' });
    });
    expect(() => promised.accessToken).toThrow(
      expect.objectContaining({ code: 'TOKEN_NOT_READY' }),
    );
    expect(() => promised.claims).toThrow();
    expect(() => JSON.stringify(promised)).toThrow();
    truth = { plan: 'premium' };
    await commit.close();
    const issued = (await commit.replace()) as IssuedToken;
    expect(issued.claims).toMatchObject({ plan: 'premium', tenant: 'globex', theme: 'dark' });
    expect(promised.accessToken).toBe(issued.accessToken);
    expect(JSON.stringify(promised)).toBe(JSON.stringify(issued));
  });

  it('happen not at all when it fails', async () => {
    const { tokens, begin, request } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    await runInHandlerScope(commit.handler, () =>
      tokens.reissue(mine.claims, { tenant: 'globex' }),
    );
    await commit.abandon();
    expect(await request(mine.claims)).not.toHaveProperty('tenant');
  });

  it('are not taken over from another reissue: that one is superseded', async () => {
    const { tokens, begin, request } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    await runInHandlerScope(commit.handler, () =>
      tokens.reissue(mine.claims, { tenant: 'globex' }),
    );
    await commit.close();
    const winner = await request(mine.claims);
    const issued = (await commit.replace()) as IssuedToken;
    expect(issued.claims.jti).not.toBe(winner.jti);
    expect(issued.claims.tenant).toBe('globex');
    expect((await tokens.verify(mine.accessToken)).tenant).toBe('globex');
  });

  it('for another session are not staged', async () => {
    const { tokens, begin } = service();
    const [mine, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    const commit = await begin(mine.claims);
    const issued = await runInHandlerScope(commit.handler, () =>
      tokens.reissue(other.claims, { tenant: 'globex' }),
    );
    expect(issued.claims).toMatchObject({ sid: other.claims.sid, tenant: 'globex' });
    expect(commit.hasChanges).toBe(false);
  });

  it('with reserved or impossible claims are refused in the handler, where it can be seen', async () => {
    const { tokens, begin } = service();
    const mine = await tokens.issue('alice');
    const commit = await begin(mine.claims);
    for (const changes of [{ sub: 'root' }, { n: 1n }]) {
      const attempt = runInHandlerScope(commit.handler, () => tokens.reissue(mine.claims, changes));
      expect(await ending(attempt)).toBe('CLAIMS_INVALID');
    }
    expect(commit.hasChanges).toBe(false);
  });
});

describe('without a claims source', () => {
  const bare = () => service({ claims: undefined });

  it('no marks are set, and nothing is replaced', async () => {
    const { tokens, begin } = bare();
    const [mine, other] = [await tokens.issue('alice'), await tokens.issue('alice')];
    const commit = await begin(mine.claims);
    await commit.close();
    expect(await commit.replace()).toBeUndefined();
    expect(staleMark()).toBeUndefined();
    expect(await ending(tokens.verify(mine.accessToken))).toBe('ok');
    expect(await ending(tokens.verify(other.accessToken))).toBe('ok');
  });

  it('explicit changes replace the presented token only', async () => {
    const { tokens, begin } = bare();
    const mine = await tokens.issue('alice', { plan: 'free', role: 'member' });
    const other = await tokens.issue('alice', { plan: 'free' });
    const commit = await begin(mine.claims);
    await runInHandlerScope(commit.handler, () => tokens.reissue(mine.claims, { plan: 'premium' }));
    await commit.close();
    const issued = (await commit.replace()) as IssuedToken;
    expect(issued.claims).toMatchObject({ plan: 'premium', role: 'member' });
    expect((await tokens.verify(mine.accessToken)).plan).toBe('premium');
    expect((await tokens.verify(other.accessToken)).plan).toBe('free');
  });
});
