import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { RedisServer } from '../support/redis-server.js';
import { redisService } from '../support/redis-service.js';
import { ending } from '../support/setup.js';

type Service = Awaited<ReturnType<typeof redisService>>;

Logger.overrideLogger(false);

const DEADLINE = 150;
/** Two cores, shared with other tests. */
const MARGIN = 350;

let redis: RedisServer;
let service: Service;

const start = async (...[options, args]: [Parameters<typeof redisService>[1]?, string[]?]) => {
  redis = await RedisServer.start(args ? { args } : {});
  service = await redisService(redis, { claims: () => ({ plan: 'free' }), ...options });
};

const running: (() => Promise<void>)[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((stop) => stop()));
  service?.close();
  await redis?.stop();
});

/** Requests that go on all the time, and what they were answered. */
function traffic(token: IssuedToken) {
  const seen: { code: string; at: number; took: number }[] = [];
  let stopped = false;
  const loop = async () => {
    while (!stopped) {
      const at = performance.now();
      const code = await ending(service.tokens.verify(token.accessToken));
      seen.push({ code, at, took: performance.now() - at });
      await sleep(5);
    }
  };
  const loops = [loop(), loop(), loop()];
  const stop = async () => {
    stopped = true;
    await Promise.all(loops);
  };
  running.push(stop);
  const codes = (since = 0) => [
    ...new Set(seen.filter(({ at }) => at >= since).map((s) => s.code)),
  ];
  return {
    codes,
    slowest: () => Math.max(...seen.map(({ took }) => took)),
    /** Until requests are answered so again. */
    until: async (code: string) => {
      const patience = performance.now() + 10_000;
      while (seen.at(-1)?.code !== code) {
        if (performance.now() > patience) throw new Error(`never ${code}: ${codes()}`);
        await sleep(10);
      }
    },
    stop,
  };
}

const OUTAGES: Record<string, [() => Promise<void> | void, () => Promise<void> | void, boolean]> = {
  'stopped and started': [() => redis.stop(), () => redis.restart(), true],
  'killed and started': [() => redis.kill(), () => redis.restart(), true],
  'suspended and resumed': [() => redis.suspend(), () => redis.resume(), false],
};

describe.each(Object.entries(OUTAGES))(
  'a Redis that is %s while requests run',
  (_, [down, up, loses]) => {
    beforeEach(() => start());

    it('accepts no revoked token, answers in time with 503, and recovers by itself', async () => {
      const { tokens } = service;
      const [good, revoked] = [await tokens.issue('alice'), await tokens.issue('bob')];
      await tokens.revoke(revoked.claims);
      const [goods, revokeds] = [traffic(good), traffic(revoked)];
      await sleep(100);
      await down();
      const isDown = performance.now();
      await goods.until('DENY_LIST_UNAVAILABLE');
      await revokeds.until('DENY_LIST_UNAVAILABLE');
      // Three deadlines open the breaker; from then on refusals are immediate.
      await sleep(1_500);
      for (const attempt of [
        () => tokens.issue('alice'),
        () => tokens.revoke(good.claims),
        () => tokens.revoke({ sub: 'alice' }),
        () => tokens.markStale({ sub: 'alice' }),
        () => tokens.refresh(good.accessToken),
      ]) {
        const began = performance.now();
        expect(await ending(attempt())).toBe('DENY_LIST_UNAVAILABLE');
        expect(performance.now() - began).toBeLessThan(DEADLINE + MARGIN);
      }
      expect(goods.codes(isDown + DEADLINE + MARGIN)).toEqual(['DENY_LIST_UNAVAILABLE']);
      await up();
      await goods.until(loses ? 'DENY_LIST_LOST' : 'ok');
      await revokeds.until(loses ? 'DENY_LIST_LOST' : 'TOKEN_REVOKED');
      await sleep(300);
      await Promise.all([goods.stop(), revokeds.stop()]);
      expect(revokeds.codes()).not.toContain('ok');
      const allowed = ['ok', 'DENY_LIST_UNAVAILABLE', ...(loses ? ['DENY_LIST_LOST'] : [])];
      expect(goods.codes().filter((code) => !allowed.includes(code))).toEqual([]);
      expect(Math.max(goods.slowest(), revokeds.slowest())).toBeLessThan(DEADLINE + MARGIN);
      const fresh = await tokens.issue('alice');
      expect(await ending(tokens.verify(fresh.accessToken))).toBe('ok');
    });
  },
);

describe('a Redis that hangs', () => {
  beforeEach(() => start());

  it('keeps at most 1 in 5 requests waiting for the deadline', async () => {
    const { tokens } = service;
    const good = await tokens.issue('alice');
    redis.suspend();
    const took: number[] = [];
    for (const end = performance.now() + 2_500; performance.now() < end; ) {
      const began = performance.now();
      expect(await ending(tokens.verify(good.accessToken))).toBe('DENY_LIST_UNAVAILABLE');
      took.push(performance.now() - began);
      await sleep(10);
    }
    expect(took.filter((time) => time > DEADLINE / 2).length).toBeLessThan(took.length / 5);
  });

  it('meets a reissue: nothing is delivered, and the client gets its successor when it is back', async () => {
    const { tokens, resolver } = service;
    const issued = await tokens.issue('alice');
    await tokens.markStale({ sub: 'alice' });
    redis.suspend();
    expect(await ending(resolver.resolve(issued.claims, 'reissue'))).toBe('DENY_LIST_UNAVAILABLE');
    redis.resume();
    await sleep(1_100);
    const { current } = await resolver.resolve(issued.claims, 'reissue');
    expect(await ending(resolver.resolve(current, 'reissue'))).toBe('ok');
  });

  it('a revoke that was not confirmed may land; one that was confirmed has', async () => {
    const { tokens } = service;
    const [one, two] = [await tokens.issue('alice'), await tokens.issue('bob')];
    redis.suspend();
    expect(await ending(tokens.revoke(one.claims))).toBe('DENY_LIST_UNAVAILABLE');
    redis.resume();
    await sleep(1_100);
    await tokens.revoke(two.claims);
    expect(await ending(tokens.verify(two.accessToken))).toBe('TOKEN_REVOKED');
  });
});

const EMPTIED: Record<string, () => Promise<void>> = {
  flushed: () => redis.flush(),
  'restarted empty': () => redis.restart(),
  'killed and started empty': async () => {
    await redis.kill();
    await redis.restart();
  },
};

describe.each(Object.entries(EMPTIED))('a Redis that was %s', (_, empty) => {
  /** Until its client has found it again. */
  const back = async () => {
    for (let i = 0; i < 200; i++) {
      if ((await ending(service.tokens.issue('nobody'))) === 'ok') return;
      await sleep(25);
    }
    throw new Error('it did not come back');
  };

  async function emptied(onLoss: 'reject' | 'reissue' | 'accept') {
    let plan = 'free';
    await start({ claims: () => ({ plan }), denyList: { onLoss } });
    const { tokens } = service;
    const [good, revoked] = [await tokens.issue('alice'), await tokens.issue('bob')];
    await tokens.revoke(revoked.claims);
    plan = 'premium';
    await empty();
    await back();
    return { ...service, good, revoked };
  }

  it('onLoss: reject: older tokens are refused, new ones work', async () => {
    const { tokens, resolver, good, revoked } = await emptied('reject');
    for (const token of [good, revoked]) {
      expect(await ending(tokens.verify(token.accessToken))).toBe('DENY_LIST_LOST');
      expect(await ending(resolver.resolve(token.claims, 'reissue'))).toBe('DENY_LIST_LOST');
    }
    const fresh = await tokens.issue('alice');
    expect(await ending(tokens.verify(fresh.accessToken))).toBe('ok');
  });

  it('onLoss: reissue: older tokens are replaced from the truth', async () => {
    const { tokens, resolver, good } = await emptied('reissue');
    const { current, issued } = await resolver.resolve(good.claims, 'reissue');
    expect(current.plan).toBe('premium');
    expect(await ending(tokens.verify(issued?.accessToken as string))).toBe('ok');
  });

  it('onLoss: accept: older tokens run', async () => {
    const { tokens, good } = await emptied('accept');
    expect((await tokens.verify(good.accessToken)).plan).toBe('free');
    await tokens.revoke(good.claims);
    expect(await ending(tokens.verify(good.accessToken))).toBe('TOKEN_REVOKED');
  });
});

describe('a Redis that is flushed while requests run', () => {
  it('accepts no revoked token at any moment', async () => {
    await start();
    const { tokens } = service;
    const revoked = await tokens.issue('bob');
    await tokens.revoke(revoked.claims);
    const revokeds = traffic(revoked);
    for (let i = 0; i < 10; i++) {
      await sleep(30);
      await redis.flush();
      // Somebody logs in at once, and so begins a new epoch.
      await ending(tokens.issue('alice'));
    }
    await revokeds.stop();
    expect(revokeds.codes().sort()).toEqual(['DENY_LIST_LOST', 'TOKEN_REVOKED']);
  });
});

describe('a Redis without memory left (noeviction)', () => {
  const startSmall = () => start({}, ['--maxmemory', '2mb', '--maxmemory-policy', 'noeviction']);
  /** Less than it needs by itself: no write is taken any more. */
  const fill = () => service.client.configSet('maxmemory', '1');

  it('confirms no write that it did not take', async () => {
    await startSmall();
    const { tokens, client } = service;
    const good = await tokens.issue('alice');
    await fill();
    for (const attempt of [
      () => tokens.revoke(good.claims),
      () => tokens.revoke({ sub: 'alice' }),
      () => tokens.revoke({ sub: 'alice', except: good.claims }),
      () => tokens.markStale({ sub: 'alice' }),
      () => tokens.reissue(good.claims),
    ]) {
      expect(await ending(attempt())).toBe('DENY_LIST_UNAVAILABLE');
      // Reading works, and closes the breaker again.
      expect(await ending(tokens.verify(good.accessToken))).toBe('ok');
    }
    await client.configSet('maxmemory', '0');
    expect(await ending(tokens.verify(good.accessToken))).toBe('ok');
    await tokens.revoke(good.claims);
    expect(await ending(tokens.verify(good.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('answers look-ups however many writes it has refused before', async () => {
    await startSmall();
    const { tokens, bounded } = service;
    const good = await tokens.issue('alice');
    await fill();
    for (let n = 0; n < 5; n++) {
      expect(await ending(bounded.write('jst:a', 'x', 1_000))).toBe('DENY_LIST_UNAVAILABLE');
    }
    expect(await ending(tokens.verify(good.accessToken))).toBe('ok');
  });

  it('goes on refusing what is revoked', async () => {
    await startSmall();
    const { tokens } = service;
    const revoked = await tokens.issue('bob');
    await tokens.revoke(revoked.claims);
    await fill();
    for (let i = 0; i < 5; i++) {
      expect(await ending(tokens.verify(revoked.accessToken))).toBe('TOKEN_REVOKED');
    }
  });
});
