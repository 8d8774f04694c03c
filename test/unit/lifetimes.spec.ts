import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { KeyvLikeStore, MemoryStore } from '../support/memory-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

const OPTIONS: Partial<JwtStateOptions> = {
  accessToken: { expiresIn: '15m' },
  claims: (_, previous) => ({ tenant: previous?.tenant ?? 'acme' }),
  denyList: { claims: ['tenant'] },
};

/** What is written about a token, and how the token is answered from then on. */
const ENTRIES: Record<
  string,
  [(writer: Assembly, issued: IssuedToken) => Promise<unknown>, string]
> = {
  'its session is revoked': [({ tokens }, { claims }) => tokens.revoke(claims), 'TOKEN_REVOKED'],
  'its subject is revoked': [({ tokens }) => tokens.revoke({ sub: 'alice' }), 'TOKEN_REVOKED'],
  'its tenant is revoked': [({ tokens }) => tokens.revoke({ tenant: 'acme' }), 'TOKEN_REVOKED'],
  'all other sessions are revoked': [
    ({ denyList }, { claims }) => denyList.revokeOthers(claims.sub, 'another session'),
    'TOKEN_REVOKED',
  ],
  'its subject is marked stale': [
    ({ tokens }) => tokens.markStale({ sub: 'alice' }),
    'TOKEN_STALE',
  ],
  'its session is marked stale': [
    ({ tokens }, { claims: { sid } }) => tokens.markStale({ sid }),
    'TOKEN_STALE',
  ],
  'its tenant is marked stale': [
    ({ tokens }) => tokens.markStale({ tenant: 'acme' }),
    'TOKEN_STALE',
  ],
  'it is replaced': [({ tokens }, { claims }) => tokens.reissue(claims), 'TOKEN_SUPERSEDED'],
};

interface Lifetimes {
  readonly issuer: Partial<JwtStateOptions>;
  readonly others: Partial<JwtStateOptions>;
}

/** Of the service that has issued the token, and of those that speak of it. */
const LIFETIMES: Record<'are the same for all' | 'were shortened since', Lifetimes> = {
  'are the same for all': { issuer: {}, others: {} },
  'were shortened since': {
    issuer: { accessToken: { expiresIn: '1h' } },
    // As the documentation says: the old value stays until the last old token has expired.
    others: { denyList: { claims: ['tenant'], longestLifetime: '1h' } },
  },
};

/**
 * Four hosts on one store. `by`: whether the store counts lifetimes by its own clock (Redis), or
 * each host by the clock it has (Keyv: `expires` by the writer's clock, removed by any reader's).
 */
function hosts(
  by: 'store' | 'hosts',
  offsets: Record<'issuer' | 'writer' | 'reader' | 'other', number>,
  lifetimes: Lifetimes = LIFETIMES['are the same for all'],
) {
  // Where in a second a token is made must not matter.
  const clock = new FakeClock(1_800_000_000_999);
  const shared = new MemoryStore(clock);
  const host = (offset: number, options = lifetimes.others) => {
    const own = clock.ahead(offset);
    const store = by === 'store' ? shared : new KeyvLikeStore(own, shared.entries);
    return assembled({ ...OPTIONS, ...options }, { clock: own, store });
  };
  return {
    clock,
    issuer: host(offsets.issuer, lifetimes.issuer),
    writer: host(offsets.writer),
    reader: host(offsets.reader),
    other: host(offsets.other),
  };
}

const SKEWS = [0, 5_000];
const skewed = SKEWS.flatMap((issuer) =>
  SKEWS.flatMap((writer) => SKEWS.map((reader) => ({ issuer, writer, reader }))),
);

const CASES = Object.entries(ENTRIES).flatMap(([what, [write, code]]) =>
  Object.entries(LIFETIMES).map(([how, lifetimes]) => ({ what, how, write, code, lifetimes })),
);

describe.each(CASES)(
  'when $what, the entry outlives the token, where lifetimes $how,',
  ({ write, code, lifetimes }) => {
    /** A millisecond before the token could not be used any more, then, and a millisecond later. */
    async function atItsEnd(
      by: 'store' | 'hosts',
      offsets: (typeof skewed)[number],
      other?: number,
    ) {
      const {
        clock,
        issuer,
        writer,
        reader,
        other: another,
      } = hosts(by, { ...offsets, other: other ?? 0 }, lifetimes);
      const issued = await issuer.tokens.issue('alice');
      await write(writer, issued);
      const end = issued.claims.exp * 1000 + 5_000 - offsets.reader;
      const found: string[] = [];
      for (const offset of [-1, 0, 1]) {
        clock.time = end + offset;
        if (other !== undefined) await ending(another.denyList.look(issued.claims));
        found.push(await ending(reader.tokens.verify(issued.accessToken)));
      }
      return found;
    }
    const EXPECTED = [code, 'TOKEN_EXPIRED', 'TOKEN_EXPIRED'];

    it.each(skewed)(
      'on a store that counts time itself: $issuer, $writer, $reader ms',
      async (offsets) => {
        expect(await atItsEnd('store', offsets)).toEqual(EXPECTED);
      },
    );

    it.each(skewed)(
      'on a store of hosts with clocks: $issuer, $writer, $reader ms',
      async (offsets) => {
        expect(await atItsEnd('hosts', offsets)).toEqual(EXPECTED);
      },
    );

    it.each(skewed)(
      'where another host, 5 s ahead, has looked first: $issuer, $writer, $reader ms',
      async (offsets) => {
        expect(await atItsEnd('hosts', offsets, 5_000)).toEqual(EXPECTED);
      },
    );
  },
);

describe('what the store is told about lifetimes', () => {
  const seconds = fc.integer({ min: 1, max: 100_000 });
  const fraction = fc.double({ min: 0, max: 100, noNaN: true });

  it('is always whole, positive milliseconds, and nothing for the witness', async () => {
    const settings = fc.record({ expiresIn: seconds, tolerance: fraction, grace: fraction });
    await fc.assert(
      fc.asyncProperty(settings, fc.integer({ min: 0, max: 999 }), async (given, part) => {
        const clock = new FakeClock(1_800_000_000_000 + part + 0.25);
        const store = new MemoryStore(clock);
        const { tokens, protocol, resolver } = assembled(
          {
            ...OPTIONS,
            accessToken: { expiresIn: given.expiresIn },
            clockTolerance: given.tolerance,
            reissue: { gracePeriod: given.grace, handlerTimeout: given.grace + 1 },
          },
          { clock, store },
        );
        const { claims } = await tokens.issue('alice');
        const other = await tokens.issue('alice');
        const commit = await protocol.begin(await resolver.resolve(claims, 'leave'), 'subject');
        await commit.close();
        const issued = await commit.replace();
        for (const [write] of Object.values(ENTRIES)) {
          await ending(
            write({ tokens, denyList: { revokeOthers: async () => {} } } as never, other),
          );
        }
        await ending(tokens.revoke({ sub: 'alice', except: issued?.claims as never }));
        const writes = store.operations.filter(({ verb }) => verb !== 'read');
        expect(writes.length).toBeGreaterThan(8);
        for (const { key, ttl } of writes) {
          if (key === storeKeys.witness) expect(ttl).toBeUndefined();
          else expect(Number.isSafeInteger(ttl) && (ttl as number) > 0).toBe(true);
        }
      }),
    );
  });

  it('is positive for a token that has expired already', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const { denyList, tokens } = assembled(OPTIONS, { clock, store });
    const first = await tokens.issue('alice');
    const second = await tokens.issue('alice');
    clock.advance(86_400_000);
    await denyList.supersede(first.claims, { ...second.claims, sid: first.claims.sid });
    const ttls = store.operations.slice(-2).map(({ ttl }) => ttl as number);
    expect(ttls.every((ttl) => Number.isSafeInteger(ttl) && ttl > 0)).toBe(true);
  });
});

describe('the grace period', () => {
  const GRACE = 30_000;

  async function superseded(options: Partial<JwtStateOptions> = {}) {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const assembly = assembled({ ...OPTIONS, ...options }, { clock, store });
    const first = await assembly.tokens.issue('alice');
    await assembly.tokens.markStale({ sub: 'alice' });
    clock.advance(1_000);
    const { issued } = await assembly.resolver.resolve(first.claims, 'reissue');
    return { clock, store, ...assembly, first, second: issued as IssuedToken, at: clock.now() };
  }

  it.each([
    [-1, 'ok'],
    [0, 'TOKEN_SUPERSEDED'],
    [1, 'TOKEN_SUPERSEDED'],
    [6_000, 'TOKEN_SUPERSEDED'],
    [600_000, 'TOKEN_SUPERSEDED'],
  ])('%p ms after its end: %s', async (offset, expected) => {
    const { clock, at, first, second, tokens, resolver } = await superseded();
    clock.time = at + GRACE + offset;
    expect(await ending(tokens.verify(first.accessToken))).toBe(expected);
    expect(await ending(resolver.resolve(first.claims, 'reissue'))).toBe(expected);
    expect(await ending(tokens.refresh(first.accessToken))).toBe(expected);
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
  });

  it('runs with the successor’s claims and carries the successor', async () => {
    const { resolver, first, second } = await superseded();
    const { current, issued } = await resolver.resolve(first.claims, 'reissue');
    expect(current).toEqual(second.claims);
    expect(issued?.claims).toEqual(second.claims);
  });

  it('is not extended by use', async () => {
    const { clock, at, first, tokens, resolver } = await superseded();
    for (const elapsed of [10_000, 20_000, GRACE - 1]) {
      clock.time = at + elapsed;
      await resolver.resolve(first.claims, 'reissue');
      await tokens.verify(first.accessToken);
    }
    clock.time = at + GRACE;
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
  });

  it('is not extended by further replacements, nor by late ones of the token itself', async () => {
    const { clock, at, first, second, tokens, resolver } = await superseded();
    clock.time = at + 20_000;
    await tokens.markStale({ sub: 'alice' });
    const { issued: third } = await resolver.resolve(first.claims, 'reissue');
    expect(third?.claims.jti).not.toBe(second.claims.jti);
    await tokens.reissue(first.claims);
    await tokens.refresh(first.accessToken);
    clock.time = at + GRACE;
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
    // The successor has a grace period of its own, from its own replacement.
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
    clock.time = at + 20_000 + GRACE;
    expect(await ending(tokens.verify(second.accessToken))).toBe('TOKEN_SUPERSEDED');
  });

  it('is kept where the second record was not written by whoever replaced the token', async () => {
    const { clock, store, at, first, tokens } = await superseded();
    store.entries.delete(storeKeys.jti(first.claims.jti, 'access'));
    clock.time = at + GRACE - 1;
    expect(await ending(tokens.verify(first.accessToken))).toBe('ok');
    // Who met `next` alone has written `jti`: with the time that `next` names,
    clock.time = at + GRACE;
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
    // and it says so after `next` has expired.
    clock.time = at + GRACE + 120_000;
    expect(store.get(storeKeys.next(first.claims.jti, 'access'))).toBeUndefined();
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
  });

  it('does not hide that the session was revoked, nor does its end', async () => {
    const { clock, at, first, tokens } = await superseded();
    await tokens.revoke({ sid: first.claims.sid });
    for (const elapsed of [0, GRACE - 1, GRACE, GRACE + 120_000]) {
      clock.time = at + elapsed;
      expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_REVOKED');
    }
  });

  it('is that of the token itself: what it leads to is followed, whoever is behind', async () => {
    const { clock, issuer, writer, reader, other } = hosts('store', {
      issuer: 0,
      writer: 5_000,
      reader: 0,
      other: -5_000,
    });
    const first = await issuer.tokens.issue('alice');
    const second = await writer.tokens.reissue(first.claims);
    const third = await other.tokens.reissue(second.claims);
    // That of the second is over, by the clock of the host that has replaced it.
    clock.advance(GRACE);
    expect((await reader.tokens.verify(first.accessToken)).jti).toBe(third.claims.jti);
    clock.advance(5_000);
    expect(await ending(reader.tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
  });

  it('of 0 ends with the replacement', async () => {
    const { first, second, tokens } = await superseded({ reissue: { gracePeriod: 0 } });
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_SUPERSEDED');
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
  });

  it.each(skewed)(
    'reaches its end on skewed hosts: $issuer, $writer, $reader ms',
    async (offsets) => {
      for (const by of ['store', 'hosts'] as const) {
        const { clock, issuer, writer, reader } = hosts(by, { ...offsets, other: 0 });
        const issued = await issuer.tokens.issue('alice');
        const at = clock.now() + offsets.writer;
        const next = await writer.tokens.reissue(issued.claims);
        clock.time = at + GRACE - 1 - offsets.reader;
        expect((await reader.tokens.verify(issued.accessToken)).jti).toBe(next.claims.jti);
        clock.time += 1;
        expect(await ending(reader.tokens.verify(issued.accessToken))).toBe('TOKEN_SUPERSEDED');
      }
    },
  );
});

describe('a token reissued by a host whose clock is behind the issuer’s', () => {
  it.each([1, 10, 999, 1_000, 4_999, 5_000])('by %p ms is one that works', async (behind) => {
    // The moment after a second has begun: a millisecond earlier, it was the one before.
    const clock = new FakeClock(1_800_000_000_000);
    const store = new MemoryStore(clock);
    const issuer = assembled(OPTIONS, { clock, store });
    const other = assembled(OPTIONS, { clock: clock.ahead(-behind), store });
    const issued = await issuer.tokens.issue('alice');
    await issuer.tokens.markStale({ sub: 'alice' });
    const { issued: reissued } = await other.resolver.resolve(issued.claims, 'reissue');
    for (const { tokens } of [issuer, other]) {
      expect(await ending(tokens.verify(reissued?.accessToken as string))).toBe('ok');
      expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
    }
  });
});

describe('the longest lifetime', () => {
  const clock = () => new FakeClock();

  it('refuses tokens of a longer lifetime for good, so that none outlives its revocation', async () => {
    const time = clock();
    const store = new MemoryStore(time);
    const long = assembled({ accessToken: { expiresIn: '1h' } }, { clock: time, store });
    const short = assembled({ accessToken: { expiresIn: '15m' } }, { clock: time, store });
    const issued = await long.tokens.issue('alice');
    await short.tokens.revoke({ sub: 'alice' });
    const ends = [15, 60].map((minutes) => clock().time + minutes * 60_000 + 5_000);
    // While the mark stands, around its end, and around that of the token.
    const times = [ends[0], (ends[0] ?? 0) + 11_000, ends[1]].flatMap((end = 0) =>
      [-1, 0, 1].map((offset) => end + offset),
    );
    for (const at of [clock().time, ...times]) {
      time.time = at;
      expect(await ending(short.tokens.verify(issued.accessToken))).toBe('TOKEN_INVALID');
    }
  });

  it('kept at the old value, the old tokens work until they expire, and stay revoked', async () => {
    const time = clock();
    const store = new MemoryStore(time);
    const long = assembled({ accessToken: { expiresIn: '1h' } }, { clock: time, store });
    const short = assembled(
      { accessToken: { expiresIn: '15m' }, denyList: { longestLifetime: '1h' } },
      { clock: time, store },
    );
    const [issued, revoked] = [await long.tokens.issue('alice'), await long.tokens.issue('bob')];
    await short.tokens.revoke({ sub: 'bob' });
    const ends = [15, 60].map((minutes) => clock().time + minutes * 60_000 + 5_000);
    const times = ends.flatMap((end) => [-1, 0, 1].map((offset) => end + offset));
    for (const at of [clock().time, ...times]) {
      time.time = at;
      const isOver = at >= (ends[1] ?? 0);
      const found = [
        await ending(short.tokens.verify(issued.accessToken)),
        await ending(short.tokens.verify(revoked.accessToken)),
      ];
      const expected = isOver ? ['TOKEN_EXPIRED', 'TOKEN_EXPIRED'] : ['ok', 'TOKEN_REVOKED'];
      expect([at - clock().time, ...found]).toEqual([at - clock().time, ...expected]);
    }
  });

  it('is one that every issued and reissued token keeps', async () => {
    const time = clock();
    const store = new MemoryStore(time);
    // Every look at the store takes a while.
    store.onOperation = () => {
      time.advance(777);
      return undefined;
    };
    const { tokens } = assembled(OPTIONS, { clock: time, store });
    // The first of all has to tell the store how long tokens live.
    await tokens.issue('bob');
    const began = time.now();
    const issued = await tokens.issue('alice');
    expect(issued.claims.iat).toBe(Math.floor(began / 1000));
    expect(issued.claims.exp).toBe(issued.claims.iat + 900);
    time.advance(60_000);
    const from = time.now();
    const renewed = await tokens.refresh(issued.accessToken);
    expect(renewed.claims.exp - renewed.claims.iat).toBe(900);
    expect(renewed.claims.iat * 1000).toBeLessThan(from + 2_000);
    expect(await ending(tokens.verify(renewed.accessToken))).toBe('ok');
  });
});
