import { inspect } from 'node:util';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { createBoundedStore } from '../../lib/deny-list/create-store.js';
import { TokenEvents } from '../../lib/events/token-events.js';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import { JwtStateError } from '../../lib/jwt-state.errors.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { timeOfTokenId } from '../../lib/token/token-id.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending, KEYS, keysOf, storeKeys } from '../support/setup.js';

Logger.overrideLogger(false);

const GRACE = 30_000;
const TOLERANCE = 5_000;
const MINUTE = 60_000;

const clock = new FakeClock();
let store: MemoryStore;
/** What the claims source answers. */
let truth: Record<string, unknown> | null;

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new MemoryStore(clock);
  truth = { plan: 'free' };
});

const OPTIONS: Partial<JwtStateOptions> = {
  accessToken: { expiresIn: '15m' },
  refresh: { tokens: { expiresIn: '1h' } },
  claims: () => truth,
};
const service = (options: Partial<JwtStateOptions> = {}) =>
  assembled({ ...OPTIONS, ...options }, { clock, store });

const refreshOf = (issued: IssuedToken) => issued.refreshToken as string;
/** Which refresh token an answer brings. */
const idOf = (issued: IssuedToken) => issued.refreshClaims?.jti;
const headerOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString());

const accepts = ({ tokens }: Assembly, issued: IssuedToken) =>
  ending(tokens.verify(issued.accessToken));
const refuses = async ({ tokens }: Assembly, issued: IssuedToken) =>
  expect(await ending(tokens.refresh(refreshOf(issued)))).toBe('INVALID_GRANT');

/** A log-in and so many uses, each of the token that the one before it brought. */
async function chain({ tokens }: Assembly, uses: number): Promise<IssuedToken[]> {
  const issued = [await tokens.issue('alice')];
  for (let use = 0; use < uses; use++) {
    issued.push(await tokens.refresh(refreshOf(issued.at(-1) as IssuedToken)));
  }
  return issued;
}
const pair = async (assembly: Assembly) => (await chain(assembly, 1)) as [IssuedToken, IssuedToken];
const triple = async (assembly: Assembly) =>
  (await chain(assembly, 2)) as [IssuedToken, IssuedToken, IssuedToken];

describe('a log-in', () => {
  it('brings a pair, as a token endpoint answers it (RFC 6749 §5.1)', async () => {
    const issued = await service().tokens.issue('alice');
    expect(issued.toJSON()).toEqual({
      access_token: issued.accessToken,
      token_type: 'Bearer',
      expires_in: 900,
      refresh_token: issued.refreshToken,
    });
    expect({ ...issued }).toEqual(issued.toJSON());
    expect(issued.refreshExpiresIn).toBe(3_600);
  });

  it('brings two tokens of one session that tell themselves apart', async () => {
    const issued = await service().tokens.issue('alice');
    const { claims, refreshClaims } = issued;
    expect(headerOf(issued.accessToken).typ).toBe('at+jwt');
    expect(headerOf(refreshOf(issued)).typ).toBe('rt+jwt');
    expect(refreshClaims).toMatchObject({ sid: claims.sid, sub: 'alice', plan: 'free' });
    expect(refreshClaims?.jti).not.toBe(claims.jti);
  });

  it('brings none where they are off, and takes none', async () => {
    const issued = await service().tokens.issue('alice');
    const { tokens } = service({ refresh: {} });
    const alone = await tokens.issue('alice');
    expect(alone.refreshToken).toBeUndefined();
    expect(alone.refreshExpiresIn).toBeUndefined();
    expect(Object.keys(alone.toJSON())).toEqual(['access_token', 'token_type', 'expires_in']);
    expect(await ending(tokens.refresh(refreshOf(issued)))).toBe('TOKEN_INVALID');
  });

  it('leaves it out of the JSON where a cookie carries it', async () => {
    const cookie = { tokens: { expiresIn: '1h', cookie: true } } as const;
    const issued = await service({ refresh: cookie }).tokens.issue('alice');
    expect(issued.refreshToken).toBeDefined();
    expect(Object.keys(issued.toJSON())).not.toContain('refresh_token');
    expect({ ...issued }).toEqual(issued.toJSON());
  });

  it('shows neither of them when it is printed', async () => {
    const issued = await service().tokens.issue('alice');
    for (const text of [inspect(issued), inspect({ issued }, { depth: 9 })]) {
      expect(text).toContain(issued.claims.jti);
      expect(text).not.toContain('eyJ');
    }
  });

  it('fails as a whole where the refresh token would be too large for its cookie', async () => {
    const cookie = { tokens: { expiresIn: '1h', cookie: true } } as const;
    const { tokens } = service({ refresh: cookie, claims: undefined });
    const note = 'x'.repeat(3_000);
    expect(await ending(tokens.issue('alice', { note }))).toBe('TOKEN_TOO_LARGE');
  });
});

describe('a refresh token that just fits into its cookie', () => {
  it('has successors that fit as well', async () => {
    const cookie = { tokens: { expiresIn: '1h', cookie: true } } as const;
    const { tokens } = service({ refresh: cookie, claims: undefined });
    const endings = new Set<string>();
    for (let length = 2_300; length < 2_900; length += 7) {
      const attempt = tokens.issue('alice', { note: 'x'.repeat(length) });
      endings.add(await ending(attempt));
      const first = await attempt.catch(() => undefined);
      if (!first) continue;
      const second = await tokens.refresh(refreshOf(first));
      expect(await ending(tokens.refresh(refreshOf(second)))).toBe('ok');
    }
    expect(endings).toEqual(new Set(['ok', 'TOKEN_TOO_LARGE']));
  });
});

describe('the two kinds of token', () => {
  it('a refresh token is no access token', async () => {
    const { tokens, verifier } = service();
    const { refreshToken } = await tokens.issue('alice');
    expect(await ending(tokens.verify(refreshToken as string))).toBe('TOKEN_INVALID');
    expect(await ending(verifier.verify(refreshToken as string))).toBe('TOKEN_INVALID');
  });

  it('an access token is no refresh token', async () => {
    const { tokens, verifier, refreshTokens } = service();
    const { accessToken } = await tokens.issue('alice');
    expect(await ending(verifier.verifyRefreshToken(accessToken))).toBe('TOKEN_INVALID');
    expect(await ending(refreshTokens?.refresh(accessToken) as Promise<unknown>)).toBe(
      'INVALID_GRANT',
    );
  });

  it('the records of the store are neither', async () => {
    const assembly = service();
    const [first] = await pair(assembly);
    const record = store.get(
      storeKeys.next(first.refreshClaims?.jti as string, 'refresh'),
    ) as string;
    expect(headerOf(record).typ).toBe('next+jwt');
    expect(await ending(assembly.tokens.verify(record))).toBe('TOKEN_INVALID');
    expect(await ending(assembly.verifier.verifyRefreshToken(record))).toBe('TOKEN_INVALID');
  });
});

describe('a use', () => {
  it('brings a successor, and an access token of the same session', async () => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    expect(idOf(second)).not.toBe(idOf(first));
    expect(second.claims).toMatchObject({ sid: first.claims.sid, plan: 'free' });
    expect(second.claims.jti).not.toBe(first.claims.jti);
    expect(await accepts(assembly, second)).toBe('ok');
  });

  it('leaves the access token alone that came before', async () => {
    const assembly = service();
    const [first] = await pair(assembly);
    expect((await assembly.tokens.verify(first.accessToken)).jti).toBe(first.claims.jti);
  });

  it('repeated brings the same successor, and each time an access token of its own', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    const answers = [];
    for (let use = 0; use < 4; use++) answers.push(await assembly.tokens.refresh(refreshOf(first)));
    expect(new Set(answers.map(idOf)).size).toBe(1);
    expect(new Set(answers.map(({ claims }) => claims.jti)).size).toBe(4);
    for (const answer of answers) expect(await accepts(assembly, answer)).toBe('ok');
  });

  it('in parallel brings one successor', async () => {
    const { tokens } = service();
    const other = service();
    const first = await tokens.issue('alice');
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        (i % 2 ? tokens : other.tokens).refresh(refreshOf(first)),
      ),
    );
    expect(new Set(answers.map(idOf)).size).toBe(1);
    expect(new Set(answers.map(({ claims }) => claims.jti)).size).toBe(100);
  });

  it('in grace is answered with the tip of the successors, not with the next of them', async () => {
    const assembly = service();
    const [first, second, third] = await triple(assembly);
    for (const token of [first, second]) {
      const answer = await assembly.tokens.refresh(refreshOf(token));
      expect(idOf(answer)).toBe(idOf(third));
      expect(await accepts(assembly, answer)).toBe('ok');
    }
  });

  it('in grace is no use of the tip', async () => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    await assembly.tokens.refresh(refreshOf(first));
    clock.advance(GRACE);
    expect(idOf(await assembly.tokens.refresh(refreshOf(first)))).toBe(idOf(second));
    expect(idOf(await assembly.tokens.refresh(refreshOf(second)))).not.toBe(idOf(second));
  });

  it('brings an access token newer than itself, as a client tells it (UUIDv7)', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    const second = await tokens.refresh(refreshOf(first));
    for (const id of [second.claims.jti, idOf(second) as string]) {
      expect(timeOfTokenId(id)).toBeGreaterThan(timeOfTokenId(idOf(first) as string) as number);
    }
  });

  it('beyond 16 successors within one grace period asks for patience, and consumes nothing', async () => {
    const assembly = service();
    const issued = await chain(assembly, 17);
    const [first] = issued;
    const last = issued.at(-1) as IssuedToken;
    expect(await ending(assembly.tokens.refresh(refreshOf(first as IssuedToken)))).toBe(
      'TOO_MANY_SUCCESSORS',
    );
    expect(await ending(assembly.tokens.refresh(refreshOf(last)))).toBe('ok');
  });
});

describe('a token that was exchanged, after its grace period', () => {
  it.each([GRACE, GRACE + 1, 10 * MINUTE, 59 * MINUTE])(
    'leads to its successor while nobody has used that: %p ms',
    async (elapsed) => {
      const assembly = service();
      const [first, second] = await pair(assembly);
      clock.advance(elapsed);
      const again = await assembly.tokens.refresh(refreshOf(first));
      expect(idOf(again)).toBe(idOf(second));
      expect(await accepts(assembly, again)).toBe('ok');
    },
  );

  it('leads to it to the last moment of its life', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    clock.advance(50 * MINUTE);
    const second = await assembly.tokens.refresh(refreshOf(first));
    clock.time = (first.refreshClaims?.exp as number) * 1_000 + TOLERANCE - 1;
    expect(idOf(await assembly.tokens.refresh(refreshOf(first)))).toBe(idOf(second));
    clock.advance(1);
    await refuses(assembly, first);
    expect(await ending(assembly.tokens.refresh(refreshOf(second)))).toBe('ok');
  });

  it('leads to it though its access token is in use', async () => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    await assembly.tokens.reissue(second.claims);
    await assembly.tokens.verify(second.accessToken);
    clock.advance(GRACE);
    expect(idOf(await assembly.tokens.refresh(refreshOf(first)))).toBe(idOf(second));
  });

  it.each(['DENY_LIST_UNAVAILABLE', 'CLAIMS_UNAVAILABLE'])(
    'leads to it though its use has failed: %s',
    async (trouble) => {
      let fails = false;
      store.onOperation = () => (fails && trouble.startsWith('DENY') ? 'lost' : undefined);
      const assembly = service({
        claims: () => {
          if (fails) throw new Error('The database is away.');
          return {};
        },
      });
      const [first, second] = await pair(assembly);
      fails = true;
      expect(await ending(assembly.tokens.refresh(refreshOf(second)))).toBe(trouble);
      fails = false;
      clock.advance(GRACE);
      expect(idOf(await assembly.tokens.refresh(refreshOf(first)))).toBe(idOf(second));
    },
  );

  it('leads to it where the record of its use is gone that outlives grace', async () => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    store.entries.delete(storeKeys.jti(idOf(first) as string, 'refresh'));
    clock.advance(10 * MINUTE);
    expect(idOf(await assembly.tokens.refresh(refreshOf(first)))).toBe(idOf(second));
  });
});

describe('reuse', () => {
  async function reused(options: Partial<JwtStateOptions> = {}) {
    const assembly = service(options);
    const issued = await triple(assembly);
    const events: unknown[] = [];
    assembly.events.on('refresh-reuse', (event) => void events.push(event));
    assembly.events.on('revoked', (event) => void events.push(event));
    clock.advance(GRACE);
    return { ...assembly, assembly, issued, events };
  }

  it('ends the session: every refresh token, every access token', async () => {
    const { assembly, issued } = await reused();
    const [first, second, third] = issued;
    await refuses(assembly, first);
    for (const token of [first, second, third]) {
      expect(await accepts(assembly, token)).toBe('TOKEN_REVOKED');
      await refuses(assembly, token);
    }
  });

  it('ends that session only', async () => {
    const { assembly, tokens, issued } = await reused();
    const other = await tokens.issue('alice');
    await refuses(assembly, issued[0]);
    expect(await ending(tokens.refresh(refreshOf(other)))).toBe('ok');
  });

  it('is told to the audit log, with ids', async () => {
    const { assembly, issued, events } = await reused();
    await refuses(assembly, issued[0]);
    const { sid } = issued[0].claims;
    expect(events).toEqual([
      { at: clock.now(), sub: 'alice', sid, jti: idOf(issued[0]) },
      { at: clock.now(), scope: { name: 'sid', value: sid }, why: 'refresh-reuse' },
    ]);
  });

  it('is found by whichever record of the successor stands', async () => {
    for (const gone of [storeKeys.next, storeKeys.jti]) {
      const { assembly, tokens, issued } = await reused();
      store.entries.delete(gone.call(storeKeys, idOf(issued[1]) as string, 'refresh'));
      await refuses(assembly, issued[0]);
      expect(await ending(tokens.refresh(refreshOf(issued[2])))).toBe('INVALID_GRANT');
    }
  });

  it('that the store does not take down is 503, and tried again', async () => {
    const { assembly, tokens, issued } = await reused();
    store.onOperation = ({ verb }) => (verb === 'write' ? 'lost' : undefined);
    expect(await ending(tokens.refresh(refreshOf(issued[0])))).toBe('DENY_LIST_UNAVAILABLE');
    expect(await accepts(assembly, issued[2])).toBe('ok');
    store.onOperation = () => undefined;
    await refuses(assembly, issued[0]);
    expect(await accepts(assembly, issued[2])).toBe('TOKEN_REVOKED');
  });

  it('of a token further back is found, too', async () => {
    const assembly = service();
    const issued = await chain(assembly, 5);
    clock.advance(GRACE);
    await refuses(assembly, issued[1] as IssuedToken);
    await refuses(assembly, issued[5] as IssuedToken);
  });

  it('is not assumed of a token that is used the first time, however late', async () => {
    const assembly = service();
    const [, , third] = await triple(assembly);
    clock.advance(59 * MINUTE);
    expect(await ending(assembly.tokens.refresh(refreshOf(third)))).toBe('ok');
  });
});

describe('the grace period of a refresh token', () => {
  it.each([
    [-1, 'ok'],
    [0, 'INVALID_GRANT'],
    [1, 'INVALID_GRANT'],
  ])('%p ms after its end, its successor used: %s', async (offset, expected) => {
    const assembly = service();
    const [first, , third] = await triple(assembly);
    clock.advance(GRACE + offset);
    expect(await ending(assembly.tokens.refresh(refreshOf(first)))).toBe(expected);
    expect(await accepts(assembly, third)).toBe(expected === 'ok' ? 'ok' : 'TOKEN_REVOKED');
  });

  it('is not extended by use, nor by looking', async () => {
    const assembly = service();
    const [first] = await triple(assembly);
    for (const elapsed of [10_000, 19_999]) {
      clock.advance(elapsed);
      await assembly.tokens.refresh(refreshOf(first));
    }
    clock.advance(1);
    await refuses(assembly, first);
  });

  it('does not begin anew where the second record was not written by its user', async () => {
    const assembly = service();
    const [first] = await triple(assembly);
    store.entries.delete(storeKeys.jti(idOf(first) as string, 'refresh'));
    clock.advance(GRACE - 1);
    expect(await ending(assembly.tokens.refresh(refreshOf(first)))).toBe('ok');
    clock.advance(1);
    await refuses(assembly, first);
  });

  it('of 0 still leads to a successor that was not used', async () => {
    const assembly = service({ reissue: { gracePeriod: 0 } });
    const [first, second] = await pair(assembly);
    expect(idOf(await assembly.tokens.refresh(refreshOf(first)))).toBe(idOf(second));
    await assembly.tokens.refresh(refreshOf(second));
    await refuses(assembly, first);
  });
});

describe('the lifetime of a refresh token', () => {
  it.each([
    [-1, 'ok'],
    [0, 'INVALID_GRANT'],
    [1, 'INVALID_GRANT'],
  ])('%p ms after exp and tolerance: %s', async (offset, expected) => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    clock.time = (first.refreshClaims?.exp as number) * 1_000 + TOLERANCE + offset;
    expect(await ending(tokens.refresh(refreshOf(first)))).toBe(expected);
  });

  it('begins anew with every use', async () => {
    const { tokens } = service();
    let issued = await tokens.issue('alice');
    for (let use = 0; use < 5; use++) {
      clock.advance(59 * MINUTE);
      issued = await tokens.refresh(refreshOf(issued));
      expect(issued.refreshExpiresIn).toBe(3_600);
      expect(issued.refreshClaims?.exp).toBe(clock.now() / 1_000 + 3_600);
      expect(issued.expiresIn).toBe(900);
    }
  });

  it('does not begin anew when it is handed out once more', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    const second = await tokens.refresh(refreshOf(first));
    clock.advance(20_000);
    const again = await tokens.refresh(refreshOf(first));
    expect(again.refreshClaims?.exp).toBe(second.refreshClaims?.exp);
    expect(again.refreshExpiresIn).toBe(3_580);
    expect(again.expiresIn).toBe(900);
  });

  it('ends with the session, and so does the access token’s', async () => {
    const { tokens } = service({ session: { maxAge: '100m' } });
    const first = await tokens.issue('alice');
    const end = first.claims.auth_time + 6_000;
    clock.advance(50 * MINUTE);
    const second = await tokens.refresh(refreshOf(first));
    expect(second.refreshClaims?.exp).toBe(end);
    expect(second.refreshExpiresIn).toBe(3_000);
    clock.advance(40 * MINUTE);
    const third = await tokens.refresh(refreshOf(second));
    expect([third.claims.exp, third.refreshClaims?.exp]).toEqual([end, end]);
    expect(third.expiresIn).toBe(600);
  });

  it.each([
    [-1, 'ok'],
    [0, 'INVALID_GRANT'],
    [1, 'INVALID_GRANT'],
  ])('%p ms after the greatest age of the session: %s', async (offset, expected) => {
    const { tokens } = service({ session: { maxAge: '90m' } });
    const first = await tokens.issue('alice');
    clock.advance(50 * MINUTE);
    const second = await tokens.refresh(refreshOf(first));
    // It is well within the tolerance of the token itself.
    clock.time = (first.claims.auth_time + 5_400) * 1_000 + offset;
    expect(await ending(tokens.refresh(refreshOf(second)))).toBe(expected);
  });

  it('may be longer than the session may last: that counts', async () => {
    const { tokens } = service({ session: { maxAge: '30m' } });
    const first = await tokens.issue('alice');
    expect(first.refreshExpiresIn).toBe(1_800);
    clock.advance(30 * MINUTE);
    expect(await ending(tokens.refresh(refreshOf(first)))).toBe('INVALID_GRANT');
  });
});

// --- clocks ------------------------------------------------------------------------------------

const SKEWS = [0, 5_000];
const skewed = SKEWS.flatMap((issuer) =>
  SKEWS.flatMap((writer) => SKEWS.map((reader) => ({ issuer, writer, reader }))),
);
type Offsets = (typeof skewed)[number];

/** `by`: whether the store counts lifetimes by its own clock, or each host by the clock it has. */
function hosts(by: 'store' | 'hosts', offsets: Offsets) {
  // Where in a second a token is made must not matter.
  clock.time = 1_800_000_000_999;
  const host = (offset: number) => {
    const own = clock.ahead(offset);
    const ownStore = by === 'store' ? store : new MemoryStore(own, store.entries);
    const options = {
      ...OPTIONS,
      claims: () => ({ tenant: 'acme' }),
      denyList: { claims: ['tenant'] },
    };
    return assembled(options, { clock: own, store: ownStore });
  };
  const { issuer, writer, reader } = offsets;
  return { issuer: host(issuer), writer: host(writer), reader: host(reader), other: host(5_000) };
}
type Hosts = ReturnType<typeof hosts>;

/** What happens to a token, and how it is judged to its end. */
const FATES: Record<string, [(hosts: Hosts, issued: IssuedToken) => Promise<unknown>, string]> = {
  'not used': [async () => {}, 'active'],
  used: [({ writer }, issued) => writer.tokens.refresh(refreshOf(issued)), 'superseded'],
  'logged out': [
    ({ writer }, issued) => writer.tokens.revoke({ token: refreshOf(issued) }),
    'revoked',
  ],
  'logged out everywhere': [({ writer }) => writer.tokens.revoke({ sub: 'alice' }), 'revoked'],
  'of a tenant that was shut': [
    ({ writer }) => writer.tokens.revoke({ tenant: 'acme' }),
    'revoked',
  ],
  'logged out from another device': [
    async ({ writer }) => {
      const other = await writer.tokens.issue('alice');
      await writer.tokens.revoke({ sub: 'alice', except: other.claims });
    },
    'revoked',
  ],
};

describe.each(Object.entries(FATES))(
  'a refresh token that was %s, on hosts whose clocks differ',
  (_, [happen, state]) => {
    describe.each(['store', 'hosts'] as const)('lifetimes by the %s', (by) => {
      it.each(skewed)(
        'is known as such to its end: $issuer, $writer, $reader ms',
        async (offsets) => {
          const all = hosts(by, offsets);
          const issued = await all.issuer.tokens.issue('alice');
          await happen(all, issued);
          const claims = issued.refreshClaims as VerifiedToken;
          const end = claims.exp * 1_000 + TOLERANCE - offsets.reader;
          clock.time = end - 1;
          // One that is ahead looks first, and removes what it takes for expired.
          await all.other.denyList.lookInStore(claims, 'refresh');
          expect(await ending(all.reader.verifier.verifyRefreshToken(refreshOf(issued)))).toBe(
            'ok',
          );
          const { verdict } = await all.reader.denyList.lookInStore(claims, 'refresh');
          expect(verdict.state).toBe(state);
          clock.time = end;
          expect(await ending(all.reader.tokens.refresh(refreshOf(issued)))).toBe('INVALID_GRANT');
        },
      );
    });
  },
);

describe('hosts whose clocks are 5 s apart', () => {
  const rounds = skewed.flatMap((offsets) =>
    (['store', 'hosts'] as const).map((by) => ({ by, ...offsets })),
  );

  it.each(rounds)(
    'exchange each other’s tokens at once, each newer than the one before: $by, $issuer, $writer, $reader ms',
    async ({ by, ...offsets }) => {
      const { issuer, writer, reader } = hosts(by, offsets);
      let issued = await issuer.tokens.issue('alice');
      for (const { tokens } of [writer, reader, issuer, reader, writer]) {
        const next = await tokens.refresh(refreshOf(issued));
        const before = timeOfTokenId(idOf(issued) as string) as number;
        expect(timeOfTokenId(next.claims.jti)).toBeGreaterThan(before);
        expect(timeOfTokenId(idOf(next) as string)).toBeGreaterThan(before);
        for (const host of [issuer, writer, reader]) expect(await accepts(host, next)).toBe('ok');
        issued = next;
      }
    },
  );

  it.each(rounds)(
    'find reuse at the end of grace by the writer’s clock: $by, $issuer, $writer, $reader ms',
    async ({ by, ...offsets }) => {
      const { issuer, writer, reader } = hosts(by, offsets);
      const first = await issuer.tokens.issue('alice');
      const at = clock.now() + offsets.writer;
      const second = await writer.tokens.refresh(refreshOf(first));
      const third = await reader.tokens.refresh(refreshOf(second));
      clock.time = at + GRACE - 1 - offsets.reader;
      expect(idOf(await reader.tokens.refresh(refreshOf(first)))).toBe(idOf(third));
      clock.advance(1);
      await refuses(reader, first);
      expect(await accepts(writer, third)).toBe('TOKEN_REVOKED');
    },
  );
});

describe('what the store is told of lifetimes', () => {
  it('is at least the refresh token’s, for every revocation and for both records', async () => {
    const assembly = service({ denyList: { claims: ['tenant'] } });
    const { tokens } = assembly;
    const [first] = await pair(assembly);
    await tokens.revoke({ token: first.accessToken });
    await tokens.revoke({ sub: 'alice' });
    await tokens.revoke({ tenant: 'acme' });
    await tokens.markStale({ sub: 'alice' });
    const other = await tokens.issue('alice');
    await tokens.revoke({ sub: 'alice', except: other.claims });
    const writes = store.operations.filter(
      ({ verb, key }) => verb !== 'read' && key !== storeKeys.witness,
    );
    expect(writes).toHaveLength(7);
    for (const { ttl } of writes) expect(ttl).toBeGreaterThanOrEqual(60 * MINUTE + TOLERANCE);
  });

  it('must not be said to be shorter: a service does not start so', () => {
    expect(() => service({ denyList: { longestLifetime: '30m' } })).toThrow(
      /longestLifetime is shorter than refresh.tokens.expiresIn/,
    );
  });

  it('was longer once: the old tokens are refused for good, unless longestLifetime says so', async () => {
    const long = service({ refresh: { tokens: { expiresIn: '2h' } } });
    const { refreshToken } = await long.tokens.issue('alice');
    expect(await ending(service().tokens.refresh(refreshToken as string))).toBe('INVALID_GRANT');
    const kept = service({ denyList: { longestLifetime: '2h' } });
    expect(await ending(kept.tokens.refresh(refreshToken as string))).toBe('ok');
  });
});

// --- what ends it ------------------------------------------------------------------------------

describe('invalid_grant', () => {
  const OTHER_KEYS = { algorithm: 'HS256', secret: 'another secret of thirty-two bytes' } as const;

  /** Why a token leads to nothing. */
  const REASONS: Record<string, (assembly: Assembly) => Promise<string>> = {
    garbage: async () => 'garbage',
    'not even text': async () => '',
    'signed by somebody else': async () => {
      const keys = await keysOf(OTHER_KEYS);
      const other = assembled({ ...OPTIONS, keys: OTHER_KEYS }, { clock, store, keys });
      return refreshOf(await other.tokens.issue('alice'));
    },
    'of a foreign issuer': async () =>
      refreshOf(await service({ issuer: 'them' }).tokens.issue('a')),
    'an access token': async ({ tokens }) => (await tokens.issue('alice')).accessToken,
    expired: async ({ tokens }) => {
      const issued = await tokens.issue('alice');
      clock.advance(61 * MINUTE);
      return refreshOf(issued);
    },
    revoked: async ({ tokens }) => {
      const issued = await tokens.issue('alice');
      await tokens.revoke({ sub: 'alice' });
      return refreshOf(issued);
    },
    reused: async (assembly) => {
      const [first] = await triple(assembly);
      clock.advance(GRACE);
      return refreshOf(first);
    },
    'of a session too old': async ({ tokens }) => {
      const issued = await tokens.issue('alice');
      clock.advance(55 * MINUTE);
      return refreshOf(issued);
    },
    'of a subject that is gone': async ({ tokens }) => {
      const issued = await tokens.issue('alice');
      truth = null;
      return refreshOf(issued);
    },
    'from before the store was lost': async ({ tokens }) => {
      const issued = await tokens.issue('alice');
      store.clear();
      return refreshOf(issued);
    },
    'led on by a record that nobody can read': async (assembly) => {
      const [first] = await pair(assembly);
      const key = storeKeys.next(idOf(first) as string, 'refresh');
      store.entries.set(key, { value: 'unreadable', expires: undefined });
      return refreshOf(first);
    },
  };

  it.each(Object.entries(REASONS))('is answered alike for a token that is: %s', async (_, make) => {
    const assembly = service({ issuer: 'us', session: { maxAge: '55m' } });
    const token = await make(assembly);
    const error = await assembly.refreshTokens?.refresh(token).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(JwtStateError);
    const { code, bearerError, retryAfter } = error as JwtStateError;
    expect({ code, bearerError, retryAfter }).toEqual({ code: 'INVALID_GRANT' });
    expect((error as JwtStateError).getResponse()).toEqual({
      statusCode: 400,
      code: 'INVALID_GRANT',
      message: 'The refresh token is not valid: log in again.',
      error: 'invalid_grant',
    });
  });
});

describe('a revocation', () => {
  const TARGETS: Record<
    string,
    (issued: IssuedToken) => Parameters<Assembly['tokens']['revoke']>[0]
  > = {
    'the refresh token, as text': (issued) => ({ token: refreshOf(issued) }),
    'the access token, as text': ({ accessToken }) => ({ token: accessToken }),
    'the verified token': ({ claims }) => claims,
    'its session': ({ claims: { sid } }) => ({ sid }),
    'its subject': () => ({ sub: 'alice' }),
  };

  it.each(Object.entries(TARGETS))('of %s ends both', async (_, target) => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    await assembly.tokens.revoke(target(first));
    for (const token of [first, second]) {
      await refuses(assembly, token);
      expect(await accepts(assembly, token)).toBe('TOKEN_REVOKED');
    }
  });

  it('takes a refresh token that has expired, and one where they are off', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    clock.advance(30 * MINUTE);
    const second = await assembly.tokens.refresh(refreshOf(first));
    clock.advance(31 * MINUTE);
    const without = service({ refresh: {}, denyList: { longestLifetime: '1h' } });
    await without.tokens.revoke({ token: refreshOf(first) });
    await refuses(assembly, second);
  });

  it('takes no refresh token that was not signed by us', async () => {
    const { tokens } = service();
    const [head, payload] = refreshOf(await tokens.issue('alice')).split('.');
    const token = `${head}.${payload}.c2lnbmF0dXJl`;
    expect(await ending(tokens.revoke({ token }))).toBe('INVALID_TARGET');
  });

  it('of all other devices leaves this one its refresh token', async () => {
    const assembly = service();
    const mine = await assembly.tokens.issue('alice');
    const other = await assembly.tokens.issue('alice');
    await assembly.tokens.revoke({ sub: 'alice', except: mine.claims });
    await refuses(assembly, other);
    expect(await ending(assembly.tokens.refresh(refreshOf(mine)))).toBe('ok');
  });

  it('ends what was issued before, not what is issued after it, all within one millisecond', async () => {
    const assembly = service();
    const before = await assembly.tokens.issue('alice');
    await assembly.tokens.revoke({ sub: 'alice' });
    const after = await assembly.tokens.issue('alice');
    await refuses(assembly, before);
    const next = await assembly.tokens.refresh(refreshOf(after));
    expect(await accepts(assembly, await assembly.tokens.refresh(refreshOf(next)))).toBe('ok');
    await assembly.tokens.revoke({ sub: 'alice' });
    for (const token of [after, next]) await refuses(assembly, token);
  });

  it('that comes while a refresh is under way ends what that brings, too', async () => {
    let during: () => Promise<unknown> = async () => {};
    const assembly = service({
      claims: async () => {
        await during();
        return {};
      },
    });
    for (const target of ['session', 'subject'] as const) {
      const { claims, refreshToken } = await assembly.tokens.issue('alice');
      during = () =>
        assembly.tokens.revoke(target === 'session' ? { sid: claims.sid } : { sub: 'alice' });
      const issued = await assembly.tokens.refresh(refreshToken as string);
      during = async () => {};
      expect(await accepts(assembly, issued)).toBe('TOKEN_REVOKED');
      await refuses(assembly, issued);
    }
  });
});

// --- claims ------------------------------------------------------------------------------------

describe('a stale mark', () => {
  it('rejects no refresh token, and the new access token holds the fresh claims', async () => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    truth = { plan: 'premium' };
    await assembly.tokens.markStale({ sub: 'alice' });
    await assembly.tokens.markStale({ sid: first.claims.sid });
    expect(await accepts(assembly, second)).toBe('TOKEN_STALE');
    // In grace, by first use, and after grace.
    for (const token of [first, second, second]) {
      const fresh = await assembly.tokens.refresh(refreshOf(token));
      expect(fresh.claims.plan).toBe('premium');
      expect(await accepts(assembly, fresh)).toBe('ok');
    }
    clock.advance(GRACE);
    expect((await assembly.tokens.refresh(refreshOf(second))).claims.plan).toBe('premium');
  });

  it('is no matter where there is none: every refresh asks for the truth', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    truth = { plan: 'premium' };
    expect((await tokens.refresh(refreshOf(first))).claims.plan).toBe('premium');
  });

  it.each([
    ['a first use', 0],
    ['a repetition', 1],
  ])(
    'that comes after the marks were read and before the claims makes the token stale: %s',
    async (_, uses) => {
      let during: () => Promise<unknown> = async () => {};
      const assembly = service({
        claims: async () => {
          await during();
          return truth;
        },
      });
      const first = await assembly.tokens.issue('alice');
      for (let use = 0; use < uses; use++) await assembly.tokens.refresh(refreshOf(first));
      during = () => assembly.tokens.markStale({ sub: 'alice' });
      const issued = await assembly.tokens.refresh(refreshOf(first));
      during = async () => {};
      expect(await accepts(assembly, issued)).toBe('TOKEN_STALE');
      const next = await assembly.tokens.refresh(refreshOf(issued));
      expect(await accepts(assembly, next)).toBe('ok');
    },
  );

  it('and a log-in within one millisecond: what was read after the mark is not stale', async () => {
    const assembly = service();
    const before = await assembly.tokens.issue('alice');
    await assembly.tokens.markStale({ sub: 'alice' });
    const after = await assembly.tokens.issue('alice');
    expect(await accepts(assembly, before)).toBe('TOKEN_STALE');
    for (const token of [before, after]) {
      const issued = await assembly.tokens.refresh(refreshOf(token));
      expect(await accepts(assembly, issued)).toBe('ok');
      await assembly.tokens.markStale({ sub: 'alice' });
      expect(await accepts(assembly, issued)).toBe('TOKEN_STALE');
    }
  });

  it('that is pending makes the access token provisional, and not the refresh token', async () => {
    const assembly = service({ reissue: { handlerTimeout: '10s' } });
    const first = await assembly.tokens.issue('alice');
    await assembly.protocol.begin(
      await assembly.resolver.resolve(first.claims, 'leave'),
      'subject',
    );
    const issued = await assembly.tokens.refresh(refreshOf(first));
    expect(await accepts(assembly, issued)).toBe('ok');
    clock.advance(15_000);
    expect(await accepts(assembly, issued)).toBe('TOKEN_STALE');
    const next = await assembly.tokens.refresh(refreshOf(issued));
    expect(await accepts(assembly, next)).toBe('ok');
  });
});

describe('the claims source', () => {
  it('that throws or takes too long is 503, and nothing is consumed', async () => {
    let answer: () => unknown = () => ({});
    const assembly = service({
      claims: () => answer() as object,
      reissue: { claimsTimeout: '20ms' },
    });
    const first = await assembly.tokens.issue('alice');
    for (const trouble of [
      () => Promise.reject(new Error('The database is away.')),
      () => new Promise(() => {}),
    ]) {
      answer = trouble;
      expect(await ending(assembly.tokens.refresh(refreshOf(first)))).toBe('CLAIMS_UNAVAILABLE');
      expect(store.get(storeKeys.next(idOf(first) as string, 'refresh'))).toBeUndefined();
    }
    answer = () => ({});
    clock.advance(10 * MINUTE);
    expect(await ending(assembly.tokens.refresh(refreshOf(first)))).toBe('ok');
  });

  it('that says null ends the session, access tokens too', async () => {
    const assembly = service();
    const [first, second] = await pair(assembly);
    truth = null;
    await refuses(assembly, second);
    truth = { plan: 'free' };
    for (const token of [first, second]) {
      await refuses(assembly, token);
      expect(await accepts(assembly, token)).toBe('TOKEN_REVOKED');
    }
  });

  it('that says null is believed, even where that cannot be written down', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    truth = null;
    store.onOperation = ({ verb }) => (verb === 'write' ? 'lost' : undefined);
    expect(await ending(tokens.refresh(refreshOf(first)))).toBe('INVALID_GRANT');
  });

  it('whose claims make a token too large consumes nothing', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    truth = { note: 'x'.repeat(9_000) };
    expect(await ending(tokens.refresh(refreshOf(first)))).toBe('TOKEN_TOO_LARGE');
    expect(store.get(storeKeys.next(idOf(first) as string, 'refresh'))).toBeUndefined();
    truth = { plan: 'free' };
    clock.advance(10 * MINUTE);
    expect(await ending(tokens.refresh(refreshOf(first)))).toBe('ok');
  });

  it('that is not there: the claims of the log-in are kept', async () => {
    const { tokens } = service({ claims: undefined });
    const first = await tokens.issue('alice', { plan: 'premium' });
    const second = await tokens.refresh(refreshOf(first));
    clock.advance(50 * MINUTE);
    expect((await tokens.refresh(refreshOf(second))).claims.plan).toBe('premium');
  });

  it('that is not there: a change stays news to who can read it', async () => {
    const [blind, seeing] = [service({ claims: undefined }), service()];
    const first = await blind.tokens.issue('alice', { plan: 'free' });
    truth = { plan: 'premium' };
    await seeing.tokens.markStale({ sub: 'alice' });
    const second = await blind.tokens.refresh(refreshOf(first));
    expect(second.claims.plan).toBe('free');
    expect(await accepts(seeing, second)).toBe('TOKEN_STALE');
    const { current } = await seeing.resolver.resolve(second.claims, 'reissue');
    expect(current.plan).toBe('premium');
  });
});

describe('a store that was lost', () => {
  it('onLoss: reissue: the refresh token is exchanged, and its successor works', async () => {
    const assembly = service({ denyList: { onLoss: 'reissue' } });
    const first = await assembly.tokens.issue('alice');
    store.clear();
    truth = { plan: 'premium' };
    const second = await assembly.tokens.refresh(refreshOf(first));
    expect(second.claims.plan).toBe('premium');
    expect(await accepts(assembly, second)).toBe('ok');
    expect(await ending(assembly.tokens.refresh(refreshOf(second)))).toBe('ok');
  });

  it('onLoss: accept: the same', async () => {
    const assembly = service({ denyList: { onLoss: 'accept' } });
    const first = await assembly.tokens.issue('alice');
    store.clear();
    const second = await assembly.tokens.refresh(refreshOf(first));
    expect(await accepts(assembly, second)).toBe('ok');
  });

  it('onUnavailable: accept lets no refresh through', async () => {
    const assembly = service({ denyList: { onUnavailable: 'accept' } });
    const first = await assembly.tokens.issue('alice');
    store.onOperation = () => 'lost';
    expect(await accepts(assembly, first)).toBe('ok');
    expect(await ending(assembly.tokens.refresh(refreshOf(first)))).toBe('DENY_LIST_UNAVAILABLE');
  });
});

// --- configuration -----------------------------------------------------------------------------

describe('a store without an atomic "set if absent"', () => {
  const entries = new Map<string, unknown>();
  const adapter = {
    opts: {},
    get: async (key: string) => entries.get(key),
    set: async (key: string, value: unknown) => void entries.set(key, value),
    delete: async (key: string) => entries.delete(key),
    clear: async () => entries.clear(),
    on: () => ({}),
  };
  const boot = (tokens: object | false, keyv = new Keyv({ store: adapter })) => {
    const cache = createCache({ stores: [keyv] });
    const config = resolveOptions({ keys: KEYS }, { refresh: { tokens }, denyList: { cache } });
    return createBoundedStore(config, clock, new TokenEvents(clock));
  };

  it('stops the boot, and says what to do', () => {
    expect(() => boot({})).toThrow(/allowNonAtomicStore/);
    expect(() => boot({})).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });

  it('is taken where that was asked for, or without refresh tokens, or in memory', () => {
    expect(boot({ allowNonAtomicStore: true })).toMatchObject({ atomic: 'process' });
    expect(boot(false)).toMatchObject({ atomic: 'process' });
    expect(boot({}, new Keyv())).toMatchObject({ ephemeral: true });
  });

  it('has one successor of a token within the process', async () => {
    const { tokens } = assembled(OPTIONS, { clock, store: boot({ allowNonAtomicStore: true }) });
    const first = await tokens.issue('alice');
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => tokens.refresh(refreshOf(first))),
    );
    expect(new Set(answers.map(idOf)).size).toBe(1);
  });

  it.each([
    ['no deny list', { denyList: false, refresh: { tokens: {} } }, /need a deny list/],
    ['a lifetime of nothing', { refresh: { tokens: { expiresIn: 0 } } }, /expiresIn/],
    ['a cookie that is no cookie', { refresh: { tokens: { cookie: 'yes' } } }, /cookie/],
    ['an option that is none', { refresh: { tokens: { expiry: '1d' } } }, /expiry/],
  ])('neither is there a boot with %s', (_, options, message) => {
    expect(() => resolveOptions({ keys: KEYS }, options as never)).toThrow(message);
  });
});
