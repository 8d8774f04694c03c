import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { DenyListKeys, encodeId } from '../../lib/deny-list/deny-list.keys.js';
import {
  formatRevokedOthers,
  formatStaleMark,
  isMadeStaleBy,
  isPastItsDeadline,
  isRevokedBy,
  type Mark,
  newMarkId,
  parseRevokedOthers,
  parseStaleMark,
  pendingAfter,
  seenBy,
} from '../../lib/deny-list/marks.js';
import {
  formatSuperseded,
  formatSupersededAtOnce,
  formatUsed,
  parseTokenRecord,
  type Records,
} from '../../lib/deny-list/records.js';
import { claimScopes, type Scope, scopesOf } from '../../lib/deny-list/scopes.js';
import { judge } from '../../lib/deny-list/verdict.js';
import { nextTokenId, timeOfTokenId } from '../../lib/token/token-id.js';
import type { Seen, VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending } from '../support/setup.js';

const NOW = 1_800_000_000_000;
const UUID = '0192d4a0-0000-7000-8000-000000000001';

const keys = new DenyListKeys('p:');
const KINDS: Record<string, (name: string, value: string) => string> = {
  next: (_, value) => keys.next(value, 'access'),
  jti: (_, value) => keys.jti(value, 'access'),
  'r:next': (_, value) => keys.next(value, 'refresh'),
  'r:jti': (_, value) => keys.jti(value, 'refresh'),
  sid: (_, value) => keys.sid(value),
  revoked: (name, value) => keys.revoked({ name, value }),
  'revoked-others': (_, value) => keys.revokedOthers(value),
  stale: (name, value) => keys.stale({ name, value }),
};

/** Whatever a claim may hold, hostile values among it. */
const hostile = fc.constantFrom(
  'witness',
  'jst:witness',
  'revoked:sub:alice',
  'sub:alice',
  'alice',
  ' alice',
  'alice ',
  'Alice',
  'a:b',
  ':',
  '*',
  '\0',
  'alice\0',
  '\ud800',
  '\ud801',
  '\udfff\ud800',
  '\ufffd',
  'é',
  'e\u0301',
  '5',
  '5.0',
  '05',
  UUID,
  UUID.toUpperCase(),
  `${UUID} `,
  `urn:uuid:${UUID}`,
  encodeId('alice'),
  'x'.repeat(100_000),
  `${'x'.repeat(99_999)}y`,
  '__proto__',
  'constructor',
);
const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 0xffff }).map((c) => String.fromCharCode(c)),
});
const value = fc.oneof(hostile, anyText, fc.uuid());
const claimName = fc.oneof(
  fc.constantFrom('sub', 'sid', 'tenant', 'ten', 'a:b', 'a', 'b'),
  anyText,
);

describe('the keys of the deny list', () => {
  it('are different wherever kind, scope or value are', () => {
    const place = fc.record({
      kind: fc.constantFrom(...Object.keys(KINDS)),
      name: claimName,
      value,
    });
    const key = ({ kind, name, value }: { kind: string; name: string; value: string }) =>
      KINDS[kind]?.(name, value);
    // `next`, `jti`, `sid` and `revoked-others` have one scope each.
    const named = (kind: string) => kind === 'revoked' || kind === 'stale';
    fc.assert(
      fc.property(place, place, (a, b) => {
        const same =
          a.kind === b.kind && a.value === b.value && (!named(a.kind) || a.name === b.name);
        expect(key(a) === key(b)).toBe(same);
        expect(key(a)).not.toBe(keys.witness);
      }),
      { numRuns: 3_000 },
    );
  });

  it('keep every pair of hostile values apart, in every kind', () => {
    const values = fc.sample(hostile, 2_000);
    const distinct = new Set(values);
    for (const make of Object.values(KINDS)) {
      expect(new Set([...distinct].map((v) => make('tenant', v))).size).toBe(distinct.size);
    }
  });

  it('are short and plain ASCII, however long or strange the value', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(KINDS)), value, (kind, v) => {
        const key = KINDS[kind]?.('tenant', v) as string;
        expect(key).toMatch(/^p:(r:)?[a-z-]+:(tenant:)?[\w-]+$/);
        expect(key.length).toBeLessThan(80);
      }),
    );
  });

  it('hold UUIDs in 22 characters, which nothing else has', () => {
    const short = Buffer.from(UUID.replaceAll('-', ''), 'hex').toString('base64url');
    expect(short).toHaveLength(22);
    expect(keys.next(UUID, 'access')).toBe(`p:next:${short}`);
    expect(keys.next(UUID, 'refresh')).toBe(`p:r:next:${short}`);
    expect(keys.jti(UUID, 'access')).toBe(`p:jti:${short}`);
    expect(keys.jti(UUID, 'refresh')).toBe(`p:r:jti:${short}`);
    expect(keys.sid(UUID)).toBe(`p:sid:${short}`);
    expect(keys.stale({ name: 'sub', value: UUID })).toBe(`p:stale:sub:${short}`);
    expect(keys.revoked({ name: 'sub', value: UUID })).toBe(`p:revoked:sub:${short}`);
    expect(keys.revokedOthers(UUID)).toBe(`p:revoked-others:${short}`);
    expect(encodeId(short)).toHaveLength(43);
    expect(keys.witness).toBe('p:witness');
  });

  it('show no other value as it is', () => {
    expect(keys.stale({ name: 'sub', value: 'alice@example.org' })).not.toContain('alice');
  });
});

describe('revoking and marking, whatever the values are', () => {
  const id = value.filter(
    (v) => v !== '' && v.isWellFormed() && !v.includes('\0') && v.length < 1_000,
  );
  const tenant = fc.oneof(id, fc.integer());
  const person = fc.record({ sub: id, tenant });
  const options = {
    claims: (_: string, previous: VerifiedToken | undefined) => ({ tenant: previous?.tenant }),
    denyList: { claims: ['tenant'] },
  };

  it('revoking one subject or tenant denies exactly its own', async () => {
    const target = fc.constantFrom('sub' as const, 'tenant' as const);
    await fc.assert(
      fc.asyncProperty(person, person, target, async (a, b, by) => {
        const { tokens } = assembled({ denyList: { claims: ['tenant'] } });
        const [one, other] = [
          await tokens.issue(a.sub, { tenant: a.tenant }),
          await tokens.issue(b.sub, { tenant: b.tenant }),
        ];
        await tokens.revoke(by === 'sub' ? { sub: a.sub } : { tenant: a.tenant });
        expect(await ending(tokens.verify(one.accessToken))).toBe('TOKEN_REVOKED');
        const shared = String(a[by]) === String(b[by]);
        expect(await ending(tokens.verify(other.accessToken))).toBe(
          shared ? 'TOKEN_REVOKED' : 'ok',
        );
      }),
    );
  });

  it('marking one subject or tenant stale touches exactly its own', async () => {
    const target = fc.constantFrom('sub' as const, 'tenant' as const);
    await fc.assert(
      fc.asyncProperty(person, person, target, async (a, b, by) => {
        const { tokens } = assembled(options);
        const [one, other] = [
          await tokens.issue(a.sub, { tenant: a.tenant }),
          await tokens.issue(b.sub, { tenant: b.tenant }),
        ];
        await tokens.markStale(by === 'sub' ? { sub: a.sub } : { tenant: a.tenant });
        expect(await ending(tokens.verify(one.accessToken))).toBe('TOKEN_STALE');
        const shared = String(a[by]) === String(b[by]);
        expect(await ending(tokens.verify(other.accessToken))).toBe(shared ? 'TOKEN_STALE' : 'ok');
      }),
    );
  });

  it('a session is revoked without its neighbours, the subject’s own among them', async () => {
    await fc.assert(
      fc.asyncProperty(id, async (sub) => {
        const { tokens } = assembled();
        const [one, other] = [await tokens.issue(sub), await tokens.issue(sub)];
        await tokens.revoke(one.claims);
        expect(await ending(tokens.verify(one.accessToken))).toBe('TOKEN_REVOKED');
        expect(await ending(tokens.verify(other.accessToken))).toBe('ok');
        // The id of a session is not the id of a subject, nor of a token.
        await tokens.revoke({ sid: other.claims.jti });
        await tokens.revoke({ sub: other.claims.sid });
        await tokens.revoke({ sid: sub });
        expect(await ending(tokens.verify(other.accessToken))).toBe('ok');
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    [5, '5'],
    ['5', 5],
    [5, 5],
  ])('the number and its digits are one subject (%p, %p)', async (first, second) => {
    const { tokens } = assembled();
    const issued = await tokens.issue(first);
    expect(issued.claims.sub).toBe('5');
    await tokens.revoke({ sub: second });
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('the number and its digits are one tenant', async () => {
    const { tokens } = assembled({ denyList: { claims: ['tenant'] } });
    const issued = await tokens.issue('alice', { tenant: 5 });
    expect(issued.claims.tenant).toBe(5);
    await tokens.revoke({ tenant: '5' });
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
  });

  it('a list of values is a list of scopes', async () => {
    const { tokens } = assembled({ denyList: { claims: ['group'] } });
    const issued = await tokens.issue('alice', { group: ['readers', 'writers'] });
    await tokens.revoke({ group: 'admins' });
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
    await tokens.revoke({ group: 'writers' });
    expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_REVOKED');
  });

  it.each([[{}], [true], [''], [['a', {}]], ['\0'], ['\ud800']])(
    'a value that could not be revoked is refused at issue: %j',
    async (tenant) => {
      const { tokens } = assembled({ denyList: { claims: ['tenant'] } });
      expect(await ending(tokens.issue('alice', { tenant }))).toBe('CLAIMS_INVALID');
    },
  );

  it('an absent value has no scope', () => {
    expect(claimScopes({ tenant: null }, ['tenant', 'plan'])).toEqual([]);
    expect(claimScopes({ tenant: [] }, ['tenant'])).toEqual([]);
  });
});

// --- marks -----------------------------------------------------------------------------------

const sub: Scope = { name: 'sub', value: 'alice' };
const sid: Scope = { name: 'sid', value: 's1' };
const acme: Scope = { name: 'tenant', value: 'acme' };
const globex: Scope = { name: 'tenant', value: 'globex' };
const mark = (kind: Mark['kind'], scope: Scope, id: string, rest: Partial<Mark> = {}): Mark => ({
  kind,
  scope,
  id,
  ...rest,
});
const tokenWith = (seen: Partial<Seen>, rest: Partial<VerifiedToken> = {}): VerifiedToken => ({
  sub: 'alice',
  sid: 's1',
  jti: 'j1',
  iat: NOW / 1000,
  exp: NOW / 1000 + 900,
  auth_time: NOW / 1000,
  seen: { epoch: 'e', ...seen },
  ...rest,
});
const snapshot = (scopes: Scope[], marks: Mark[], readAt = NOW) => ({
  epoch: 'e',
  scopes,
  marks,
  readAt,
});

describe('what a token has seen', () => {
  it('is nothing but the epoch where there are no marks', () => {
    expect(seenBy(snapshot([sub], []), [sub])).toEqual({ epoch: 'e' });
  });

  it('is every mark present at a log-in', () => {
    const marks = [
      mark('stale', sub, 'm1'),
      mark('revoked', sub, 'm2'),
      mark('revoked-others', sub, 'm3', { except: 'other' }),
    ];
    expect(seenBy(snapshot([sub], marks), [sub])).toEqual({
      epoch: 'e',
      stale: ['m1'],
      revoked: ['m2', 'm3'],
    });
  });

  it('has the stale marks of the moment, not those of the predecessor', () => {
    const before = { revoked: [], scopes: [sub, sid] };
    const seen = seenBy(snapshot([sub, sid], [mark('stale', sub, 'new')]), [sub, sid], before);
    expect(seen.stale).toEqual(['new']);
    expect(seenBy(snapshot([sub, sid], []), [sub, sid], before).stale).toBeUndefined();
  });

  it('keeps the revocation marks of the session’s start, and no later one', () => {
    const marks = [mark('revoked', sub, 'old'), mark('revoked-others', sub, 'later')];
    const seen = seenBy(snapshot([sub, sid], marks), [sub, sid], {
      revoked: ['old'],
      scopes: [sub, sid],
    });
    expect(seen.revoked).toEqual(['old']);
  });

  it('takes the revocation marks of a scope that is new to the session', () => {
    const marks = [
      mark('revoked', acme, 'a'),
      mark('revoked', globex, 'g'),
      mark('revoked', sub, 's'),
    ];
    const seen = seenBy(snapshot([sub, sid, acme, globex], marks), [sub, sid, globex], {
      revoked: [],
      scopes: [sub, sid, acme],
    });
    expect(seen.revoked).toEqual(['g']);
  });

  it('leaves out marks of scopes that the token does not fall under', () => {
    const marks = [mark('stale', acme, 'a'), mark('stale', globex, 'g')];
    expect(seenBy(snapshot([sub, acme, globex], marks), [sub, globex]).stale).toEqual(['g']);
  });

  it('is provisional until the earliest deadline that was still ahead', () => {
    const pending = (entries: [string, number][]) =>
      seenBy(snapshot([sub], [mark('stale', sub, 'm', { pending: new Map(entries) })]), [sub])
        .until;
    expect(pending([])).toBeUndefined();
    expect(pending([['h', NOW + 1]])).toBe(NOW + 1);
    expect(pending([['h', NOW]])).toBeUndefined();
    expect(pending([['h', NOW - 1]])).toBeUndefined();
    expect(
      pending([
        ['h', NOW + 9],
        ['i', NOW + 5],
        ['j', NOW - 5],
      ]),
    ).toBe(NOW + 5);
  });
});

describe('a mark', () => {
  it.each(['revoked', 'revoked-others'] as const)(
    '%s ends a token that has not seen it',
    (kind) => {
      expect(isRevokedBy(tokenWith({}), mark(kind, sub, 'm'))).toBe(true);
      expect(isRevokedBy(tokenWith({ revoked: ['x', 'm'] }), mark(kind, sub, 'm'))).toBe(false);
      // To have seen it as a stale mark is not to have seen it as a revocation.
      expect(isRevokedBy(tokenWith({ stale: ['m'] }), mark(kind, sub, 'm'))).toBe(true);
      expect(isMadeStaleBy(tokenWith({}), mark(kind, sub, 'm'))).toBe(false);
    },
  );

  it('excepts one session only', () => {
    const others = mark('revoked-others', sub, 'm', { except: 's1' });
    expect(isRevokedBy(tokenWith({}, { sid: 's1' }), others)).toBe(false);
    expect(isRevokedBy(tokenWith({}, { sid: 's2' }), others)).toBe(true);
  });

  it('stale makes a token stale that has not seen it, and revokes nothing', () => {
    expect(isMadeStaleBy(tokenWith({}), mark('stale', sub, 'm'))).toBe(true);
    expect(isMadeStaleBy(tokenWith({ stale: ['m'] }), mark('stale', sub, 'm'))).toBe(false);
    expect(isMadeStaleBy(tokenWith({ revoked: ['m'] }), mark('stale', sub, 'm'))).toBe(true);
    expect(isRevokedBy(tokenWith({}), mark('stale', sub, 'm'))).toBe(false);
  });

  it('has an id that no other mark has', () => {
    const ids = Array.from({ length: 1_000 }, () => newMarkId(NOW));
    expect(new Set(ids).size).toBe(1_000);
    expect(ids.every((id) => /^[\w-]{22}$/.test(id))).toBe(true);
  });
});

describe('a provisional token', () => {
  it.each([
    [-1, false],
    [0, true],
    [1, true],
  ])('at its deadline %p ms is past it: %p', (offset, past) => {
    const token = tokenWith({ until: NOW });
    expect(isPastItsDeadline(token, NOW + offset)).toBe(past);
    const records = {
      epoch: 'e',
      sessionRevoked: false,
      token: undefined,
      next: undefined,
      marks: [],
    };
    expect(judge(token, records, undefined, NOW + offset, 'reject').state).toBe(
      past ? 'stale' : 'active',
    );
  });

  it('is what a token without a deadline never is', () => {
    expect(isPastItsDeadline(tokenWith({}), Number.MAX_SAFE_INTEGER)).toBe(false);
  });
});

describe('the pending deadlines of a stale mark', () => {
  const owner = fc.uuid();
  const time = fc.integer({ min: NOW - 100_000, max: NOW + 100_000 });
  const pendings = fc.array(fc.tuple(owner, time), { maxLength: 6 }).map((all) => new Map(all));

  it('another handler’s is kept while it lies ahead, and only then', () => {
    fc.assert(
      fc.property(pendings, owner, time, fc.boolean(), (before, me, until, opens) => {
        const change = opens ? { opens: { owner: me, until } } : { closes: me };
        const after = pendingAfter(before, change, NOW);
        for (const [other, deadline] of before) {
          if (other === me) continue;
          expect(after.get(other)).toBe(deadline > NOW ? deadline : undefined);
        }
        expect(after.get(me)).toBe(opens ? until : undefined);
      }),
    );
  });

  it('a change from elsewhere keeps them all', () => {
    const before = new Map([
      ['h', NOW + 1],
      ['i', NOW + 2],
    ]);
    expect(pendingAfter(before, {}, NOW)).toEqual(before);
    expect(pendingAfter(undefined, {}, NOW)).toEqual(new Map());
  });

  it.each([
    [NOW - 1, false],
    [NOW, false],
    [NOW + 1, true],
  ])('of %p are kept: %p', (deadline, kept) => {
    expect(pendingAfter(new Map([['h', deadline]]), {}, NOW).has('h')).toBe(kept);
  });

  it('survive being written and read', () => {
    fc.assert(
      fc.property(pendings, (pending) => {
        const id = newMarkId(NOW);
        const read = parseStaleMark(sub, formatStaleMark(id, pending));
        expect(read).toEqual({ kind: 'stale', scope: sub, id, pending });
      }),
    );
  });

  it('unreadable ones do not hide the mark', () => {
    for (const text of ['', 'm', 'm x', 'm =', 'm a=b c=d', 'm a=1e999', 'm a=Infinity']) {
      const read = parseStaleMark(sub, text);
      expect(isMadeStaleBy(tokenWith({ stale: ['other'] }), read)).toBe(true);
      expect([...(read.pending?.values() ?? [])].every(Number.isSafeInteger)).toBe(true);
    }
  });
});

describe('a record', () => {
  it('of revoked others survives being written and read', () => {
    fc.assert(
      fc.property(fc.option(fc.oneof(fc.uuid(), value), { nil: undefined }), (except) => {
        const id = newMarkId(NOW);
        const read = parseRevokedOthers(sub, formatRevokedOthers(id, except));
        expect(read.id).toBe(id);
        expect(read.except).toBe(except);
      }),
    );
  });

  it('of a superseded token survives being written and read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), fc.uuid(), (at, successor) => {
        const known = { revoked: false, at, successor };
        const written = formatSuperseded(at, successor);
        expect(parseTokenRecord(written)).toEqual({ ...known, isUsed: false });
        const atOnce = formatSupersededAtOnce(at, successor);
        expect(parseTokenRecord(atOnce)).toEqual({ ...known, isUsed: false });
        for (const record of [written, atOnce]) {
          const used = formatUsed(record, successor) as string;
          expect(parseTokenRecord(used)).toEqual({ ...known, isUsed: true });
          expect(formatUsed(used, successor)).toBeUndefined();
          expect(formatUsed(record, `${successor}x`)).toBeUndefined();
        }
      }),
    );
  });

  it('is not noted to lead further where none says that it leads anywhere', () => {
    for (const record of [undefined, '', 'garbage', 'x j2', '12']) {
      expect(formatUsed(record, 'j2')).toBeUndefined();
    }
  });

  it.each(['revoked', '', 'x', '12', 'x y', 'NaN y', '1e999 y'])(
    'that cannot be read counts as revoked: %j',
    (text) => {
      expect(parseTokenRecord(text)).toEqual({ revoked: true });
    },
  );
});

// --- verdict ---------------------------------------------------------------------------------

describe('the verdict', () => {
  const SUCCESSOR = 'j2';
  const situation = fc.record({
    epoch: fc.constantFrom('e', 'another', undefined),
    sessionRevoked: fc.boolean(),
    token: fc.constantFrom(
      undefined,
      { revoked: true } as const,
      { revoked: false, at: NOW, successor: SUCCESSOR, isUsed: false } as const,
      { revoked: false, at: NOW, successor: SUCCESSOR, isUsed: true } as const,
      { revoked: false, at: NOW, successor: 'somebody else', isUsed: false } as const,
    ),
    next: fc.constantFrom('absent', 'readable', 'unreadable'),
    revocation: fc.constantFrom('absent', 'seen', 'news', 'excepted'),
    stale: fc.constantFrom('absent', 'seen', 'news'),
    until: fc.constantFrom(undefined, NOW, NOW + 1),
    onLoss: fc.constantFrom('reject' as const, 'reissue' as const, 'accept' as const),
  });
  type Situation = typeof situation extends fc.Arbitrary<infer T> ? T : never;

  function verdictOf(s: Situation) {
    const token = tokenWith({
      stale: ['stale-seen'],
      revoked: ['revocation-seen'],
      ...(s.until !== undefined && { until: s.until }),
    });
    const marks: Mark[] = [];
    if (s.revocation === 'excepted') {
      marks.push(mark('revoked-others', sub, 'revocation-news', { except: token.sid }));
    } else if (s.revocation !== 'absent') {
      marks.push(mark('revoked', sub, `revocation-${s.revocation}`));
    }
    if (s.stale !== 'absent') marks.push(mark('stale', sub, `stale-${s.stale}`));
    const records: Records = {
      epoch: s.epoch,
      sessionRevoked: s.sessionRevoked,
      token: s.token,
      next: s.next === 'absent' ? undefined : 'a record',
      marks,
    };
    const successor =
      s.next === 'readable' ? { at: NOW, claims: tokenWith({}, { jti: SUCCESSOR }) } : undefined;
    return judge(token, records, successor, NOW, s.onLoss);
  }

  it('is revoked before lost before superseded before stale before active, in every situation', () => {
    fc.assert(
      fc.property(situation, (s) => {
        const revoked = s.sessionRevoked || s.token?.revoked === true || s.revocation === 'news';
        const lost = s.epoch !== 'e';
        const superseded = s.token !== undefined || s.next !== 'absent';
        const stale = s.stale === 'news' || s.until === NOW || (lost && s.onLoss === 'reissue');
        const expected = revoked
          ? 'revoked'
          : lost && s.onLoss === 'reject'
            ? 'lost'
            : superseded
              ? 'superseded'
              : stale
                ? 'stale'
                : 'active';
        expect(verdictOf(s).state).toBe(expected);
      }),
      { numRuns: 5_000 },
    );
  });

  it('leads to a successor only where both records, as far as they exist, name it', () => {
    fc.assert(
      fc.property(situation, (s) => {
        const verdict = verdictOf(s);
        if (verdict.state !== 'superseded') return;
        const agreed =
          s.token === undefined || (!s.token.revoked && s.token.successor === SUCCESSOR);
        expect(verdict.successor?.jti).toBe(
          s.next === 'readable' && agreed ? SUCCESSOR : undefined,
        );
        expect(verdict.isSpent).toBe(s.token?.revoked === false && s.token.isUsed);
      }),
      { numRuns: 2_000 },
    );
  });
});

// --- token ids -------------------------------------------------------------------------------

describe('the id of a token', () => {
  const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

  it('is a UUIDv7 of the moment', () => {
    const id = nextTokenId(NOW);
    expect(id).toMatch(UUID_V7);
    expect(timeOfTokenId(id)).toBe(NOW);
  });

  it('lies at least 1 ms after its predecessor’s, also when the clock went back', () => {
    const clock = fc.integer({ min: NOW - 10_000_000, max: NOW + 10_000_000 });
    fc.assert(
      fc.property(fc.array(clock, { minLength: 2, maxLength: 30 }), (times) => {
        let predecessor: string | undefined;
        for (const now of times) {
          const id = nextTokenId(now, predecessor);
          expect(id).toMatch(UUID_V7);
          if (predecessor !== undefined) {
            const earlier = timeOfTokenId(predecessor) as number;
            expect(timeOfTokenId(id)).toBe(Math.max(now, earlier + 1));
            expect(id > predecessor).toBe(true);
          }
          predecessor = id;
        }
      }),
    );
  });

  it.each(['', 'abc', UUID.replace('-7', '-4'), '\0'])('of another kind has no time: %j', (id) => {
    expect(timeOfTokenId(id)).toBeUndefined();
    expect(timeOfTokenId(nextTokenId(NOW, id))).toBe(NOW);
  });

  it('grows along a session whose issuers’ clocks are apart', async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const ahead = assembled({ claims: () => ({}) }, { store, clock: clock.ahead(5_000) });
    const behind = assembled({ claims: () => ({}) }, { store, clock });
    const first = await ahead.tokens.issue('alice');
    const second = await behind.tokens.reissue(first.claims);
    const third = await ahead.tokens.reissue(second.claims);
    expect(second.claims.jti > first.claims.jti).toBe(true);
    expect(third.claims.jti > second.claims.jti).toBe(true);
    expect(scopesOf(third.claims, [])).toEqual(scopesOf(first.claims, []));
  });
});
