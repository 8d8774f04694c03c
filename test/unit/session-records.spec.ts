import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import { timeOfTokenId } from '../../lib/token/token-id.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { forge } from '../support/forge.js';
import { Latch } from '../support/latch.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending, KEYS, storeKeys } from '../support/setup.js';

/*
 * What a session has chosen (a tenant) survives a refresh: access tokens hand it on by themselves, a
 * refresh token was made before it, so the session keeps it in a record of its own.
 */

Logger.overrideLogger(false);

const GRACE = 30_000;
const clock = new FakeClock();
let store: MemoryStore;
/** Of the user, not of the session. */
let plan: string;

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new MemoryStore(clock);
  plan = 'free';
});

const OPTIONS: Partial<JwtStateOptions> = {
  accessToken: { expiresIn: '15m' },
  refresh: { tokens: { expiresIn: '1h' } },
  denyList: { claims: ['tenant'] },
  claims: (_, previous) => ({ plan, tenant: previous?.tenant ?? 'acme' }),
};
const service = (options: Partial<JwtStateOptions> = {}) =>
  assembled({ ...OPTIONS, ...options }, { clock, store });

const refresh = ({ tokens }: Assembly, issued: IssuedToken) =>
  tokens.refresh(issued.refreshToken as string);
const tenantAfterRefresh = async (assembly: Assembly, issued: IssuedToken) =>
  (await refresh(assembly, issued)).claims.tenant;
const recordOf = ({ claims: { sid } }: IssuedToken) => store.get(storeKeys.session(sid));
const keyOf = ({ claims: { sid } }: IssuedToken) => storeKeys.session(sid);

/** A session that has chosen a tenant since its log-in. */
async function chosen(tenant = 'globex', options: Partial<JwtStateOptions> = {}) {
  const assembly = service(options);
  const first = await assembly.tokens.issue('alice');
  clock.advance(1_000);
  const switched = await assembly.tokens.reissue(first.claims, { tenant });
  return { assembly, ...assembly, first, switched };
}

describe('a tenant that a session has chosen', () => {
  it('survives a refresh with the refresh token from before', async () => {
    const { assembly, tokens, first } = await chosen();
    const second = await refresh(assembly, first);
    expect(second.claims).toMatchObject({ tenant: 'globex', plan: 'free' });
    expect((await tokens.verify(second.accessToken)).tenant).toBe('globex');
  });

  it('survives every further refresh, in grace and after it', async () => {
    const { assembly, first } = await chosen();
    const second = await refresh(assembly, first);
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
    clock.advance(GRACE);
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
    clock.advance(50 * 60_000);
    expect(await tenantAfterRefresh(assembly, second)).toBe('globex');
  });

  it('does not keep what belongs to the user: that is read anew', async () => {
    const { assembly, first } = await chosen();
    plan = 'premium';
    const { claims } = await refresh(assembly, first);
    expect(claims).toMatchObject({ tenant: 'globex', plan: 'premium' });
  });

  it('is this session’s only', async () => {
    const { assembly, tokens } = await chosen();
    expect(await tenantAfterRefresh(assembly, await tokens.issue('alice'))).toBe('acme');
  });

  it('can be chosen again, also with the token that a refresh brought', async () => {
    const { assembly, tokens, first, switched } = await chosen();
    await tokens.reissue(switched.claims, { tenant: 'initech' });
    const second = await refresh(assembly, first);
    expect(second.claims.tenant).toBe('initech');
    clock.advance(1_000);
    await tokens.reissue(second.claims, { tenant: 'hooli' });
    expect(await tenantAfterRefresh(assembly, first)).toBe('hooli');
    expect(await tenantAfterRefresh(assembly, second)).toBe('hooli');
  });

  it('is kept in a handler’s change, too', async () => {
    const assembly = service();
    const { protocol, resolver, tokens } = assembly;
    const first = await tokens.issue('alice');
    const commit = await protocol.begin(await resolver.resolve(first.claims, 'leave'), 'session');
    commit.handler.stage({ tenant: 'globex' });
    await commit.close();
    await commit.replace();
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });

  it('is kept without a claims source, like all other explicit changes', async () => {
    const assembly = service({ claims: undefined });
    const first = await assembly.tokens.issue('alice', { tenant: 'acme', theme: 'light' });
    await assembly.tokens.reissue(first.claims, { tenant: 'globex' });
    const second = await refresh(assembly, first);
    expect(second.claims).toMatchObject({ tenant: 'globex', theme: 'light' });
    await assembly.tokens.reissue(second.claims, { theme: 'dark' });
    clock.advance(50 * 60_000);
    const third = await refresh(assembly, second);
    expect(third.claims).toMatchObject({ tenant: 'globex', theme: 'dark' });
  });

  it('is not written down where nothing was chosen, nor where there are no refresh tokens', async () => {
    const { tokens } = service();
    const first = await tokens.issue('alice');
    await tokens.reissue(first.claims);
    expect(recordOf(first)).toBeUndefined();
    const without = service({ refresh: {}, denyList: {} });
    const alone = await without.tokens.issue('alice');
    await without.tokens.reissue(alone.claims, { tenant: 'globex' });
    expect(recordOf(alone)).toBeUndefined();
  });

  it('brings access tokens newer than the refresh token they were exchanged for', async () => {
    // On another host, 5 s ahead, the session goes on after it has chosen.
    const { assembly, first } = await chosen();
    const ahead = assembled(OPTIONS, { clock: clock.ahead(5_000), store });
    const second = await refresh(ahead, first);
    const third = await refresh(assembly, second);
    const timeOf = ({ jti }: VerifiedToken) => timeOfTokenId(jti) as number;
    expect(timeOf(third.claims)).toBeGreaterThan(timeOf(second.refreshClaims as VerifiedToken));
    expect(timeOf(third.claims)).toBeGreaterThan(timeOf(second.claims));
  });

  it('is 503, and consumes nothing, where it cannot be read', async () => {
    const { assembly, first } = await chosen();
    store.onOperation = ({ key }) => (key === keyOf(first) ? 'lost' : undefined);
    expect(await ending(refresh(assembly, first))).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    clock.advance(GRACE);
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });

  it('is not handed out where it could not be kept', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    store.onOperation = ({ key }) => (key === keyOf(first) ? 'lost' : undefined);
    const attempt = assembly.tokens.reissue(first.claims, { tenant: 'globex' });
    expect(await ending(attempt)).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    expect((await assembly.tokens.verify(first.accessToken)).tenant).toBe('acme');
    expect(await tenantAfterRefresh(assembly, first)).toBe('acme');
  });
});

describe('of two changes the one that was written last is kept', () => {
  /** Two access tokens of one session, as two tabs hold them. */
  async function tabs() {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    const one = await refresh(assembly, first);
    const two = await refresh(assembly, first);
    return { assembly, other: service(), first, one, two };
  }

  it('though it was made first', async () => {
    const { assembly, other, first, one, two } = await tabs();
    await other.tokens.reissue(two.claims, { tenant: 'initech' });
    await assembly.tokens.reissue(one.claims, { tenant: 'globex' });
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });

  it('that was made last, too', async () => {
    const { assembly, other, first, one, two } = await tabs();
    await assembly.tokens.reissue(one.claims, { tenant: 'globex' });
    clock.advance(10);
    await other.tokens.reissue(two.claims, { tenant: 'initech' });
    expect(await tenantAfterRefresh(assembly, first)).toBe('initech');
  });

  it('though the other one was made and written while it waited', async () => {
    const { assembly, other, first, one, two } = await tabs();
    const reached = new Latch('its record is about to be written');
    const released = new Latch('the other record is written');
    store.onOperation = async ({ verb, key }) => {
      if (verb !== 'writeIfUnchanged' || key !== keyOf(first)) return undefined;
      store.onOperation = () => undefined;
      reached.open();
      await released.opened;
      return undefined;
    };
    const held = assembly.tokens.reissue(one.claims, { tenant: 'globex' });
    await reached.reached();
    clock.advance(10);
    await other.tokens.reissue(two.claims, { tenant: 'initech' });
    released.open();
    await held;
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });

  it('of 20 at once in two processes: that of a token which stands', async () => {
    const { assembly, other, first, one, two } = await tabs();
    const changes = Array.from({ length: 20 }, (_, i) => {
      clock.advance(1);
      const [{ tokens }, { claims }] = i % 2 ? [assembly, one] : [other, two];
      return tokens.reissue(claims, { tenant: `tenant-${i}` });
    });
    const answers = (await Promise.all(changes)).map(({ claims }) => claims);
    const tips: unknown[] = [];
    for (const { claims } of [one, two]) {
      const { tip } = await assembly.resolver.resolve(claims, 'refuse');
      tips.push(tip.tenant);
    }
    expect(answers.map(({ tenant }) => tenant)).toEqual(expect.arrayContaining(tips));
    expect(tips).toContain(await tenantAfterRefresh(assembly, first));
  });

  it('though it was the same as that of a token which came too late, and was taken back', async () => {
    const { assembly, first, one, two } = await tabs();
    const [late, fast] = ['globex', 'initech'].map((tenant) =>
      service({ claims: () => ({ tenant }) }),
    );
    const gates = [new Latch('the faster one goes on'), new Latch('the later one goes on')];
    const waiting = [new Latch('the faster one waits'), new Latch('the later one waits')];
    let n = 0;
    store.onOperation = async ({ verb, key }) => {
      if (verb !== 'writeIfAbsent' || !key.includes(':next:')) return undefined;
      const gate = gates[n];
      waiting[n]?.open();
      n += 1;
      await gate?.opened;
      return undefined;
    };
    const faster = fast?.tokens.reissue(one.claims);
    await waiting[0]?.reached();
    const later = late?.tokens.reissue(one.claims);
    await waiting[1]?.reached();
    await assembly.tokens.reissue(two.claims, { tenant: 'globex' });
    for (const [i, running] of [faster, later].entries()) {
      gates[i]?.open();
      await running;
    }
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });

  const SKEWS = [0, 5_000];
  const skewed = SKEWS.flatMap((a) => SKEWS.map((b) => ({ a, b })));

  it.each(skewed)(
    'by two tabs on hosts whose clocks differ, $a and $b ms, seconds apart: and every token is newer',
    async ({ a, b }) => {
      const hosts = [a, b].map((skew) => assembled(OPTIONS, { clock: clock.ahead(skew), store }));
      const [here, there] = hosts as [Assembly, Assembly];
      const first = await service().tokens.issue('alice');
      clock.advance(60_000);
      let [one, two] = [await refresh(here, first), await refresh(there, first)];
      let before = one.claims;
      for (const tenant of ['globex', 'initech', 'hooli', 'globex']) {
        clock.advance(2_000);
        const isHere = tenant === 'globex' || tenant === 'hooli';
        const chosen = await (isHere ? here : there).tokens.reissue((isHere ? one : two).claims, {
          tenant,
        });
        if (isHere) one = chosen;
        else two = chosen;
        if (before.tenant !== 'acme') expect(timeOf(chosen.claims)).toBeGreaterThan(timeOf(before));
        before = chosen.claims;
        for (const host of hosts) {
          const { claims } = await refresh(host, first);
          expect(claims.tenant).toBe(tenant);
          expect(timeOf(claims)).toBeGreaterThan(timeOf(chosen.claims));
        }
      }
    },
  );

  it('by who reissues, though a refresh was under way that would have moved the session', async () => {
    const asked = new Latch('the source is asked by the refresh');
    const released = new Latch('the session has chosen');
    let isMember = true;
    let isHeld = false;
    const assembly = service({
      claims: async (_, previous) => {
        const tenant = previous?.tenant ?? 'acme';
        if (isHeld) {
          isHeld = false;
          asked.open();
          await released.opened;
        }
        return { tenant: tenant === 'acme' && !isMember ? 'initech' : tenant };
      },
    });
    const first = await assembly.tokens.issue('alice');
    [isMember, isHeld] = [false, true];
    const underWay = refresh(assembly, first);
    await asked.reached();
    await assembly.tokens.reissue(first.claims, { tenant: 'globex' });
    released.open();
    expect((await underWay).claims.tenant).toBe('globex');
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });
});

describe('a refresh that the session overtakes again and again', () => {
  it('is 503 of a store that cannot say, and consumes nothing but the token', async () => {
    const { assembly, tokens, first, switched } = await chosen();
    let n = 0;
    let held = switched.claims;
    store.onOperation = async ({ verb, key }) => {
      if (verb !== 'read' || key !== keyOf(first)) return undefined;
      const restore = store.onOperation;
      store.onOperation = () => undefined;
      n += 1;
      ({ claims: held } = await tokens.reissue(held, { tenant: `tenant-${n}` }));
      store.onOperation = restore;
      return undefined;
    };
    expect(await ending(refresh(assembly, first))).toBe('DENY_LIST_UNAVAILABLE');
    store.onOperation = () => undefined;
    expect(await tenantAfterRefresh(assembly, first)).toBe(`tenant-${n}`);
  });
});

const timeOf = ({ jti }: VerifiedToken) => timeOfTokenId(jti) as number;

describe('the record', () => {
  const overwrite = (issued: IssuedToken, value: string) =>
    store.entries.set(keyOf(issued), { value, expires: undefined });
  const payloadOf = (record: string) =>
    JSON.parse(Buffer.from(record.split('.')[1] ?? '', 'base64url').toString());
  const forged = (payload: unknown, header = {}, key: string = KEYS.secret) =>
    forge({ header: { typ: 'session+jwt', ...header }, payload, key });

  /** A record about this session that says another tenant. */
  const evil = (record: string) => {
    const payload = payloadOf(record);
    payload.record.choices.tenant.value = 'evil';
    return payload;
  };

  it('would be believed if it were signed by us: so the refusals below are about what they say', async () => {
    const { assembly, first } = await chosen();
    overwrite(first, forged(evil(recordOf(first) as string)));
    expect(await tenantAfterRefresh(assembly, first)).toBe('evil');
  });

  const TAMPERED: Record<string, (record: string) => string> = {
    'is no JWT at all': () => 'garbage',
    'is empty': () => '',
    'was signed with another key': (record) => forged(evil(record), {}, 'x'.repeat(32)),
    'has another payload under the old signature': (record) => {
      const [head, , signature] = record.split('.');
      const payload = Buffer.from(JSON.stringify(evil(record))).toString('base64url');
      return `${head}.${payload}.${signature}`;
    },
    'has no signature': (record) => {
      const [, payload] = forged(evil(record)).split('.');
      const head = Buffer.from('{"alg":"none","typ":"session+jwt"}').toString('base64url');
      return `${head}.${payload}.`;
    },
    'is a signed token of another type': (record) => forged(evil(record), { typ: 'at+jwt' }),
    'is about another subject': (record) => forged({ ...evil(record), sub: 'mallory' }),
    'is about another session': (record) => forged({ ...evil(record), sid: 'another' }),
    'holds nothing': () => forged({}),
    'holds nothing that is a record': (record) => {
      const { sid, sub } = evil(record);
      return forged({ sid, sub, record: { revoked: [], choices: { tenant: 'evil' } } });
    },
    'says nothing that can be read about what was left': (record) => {
      const payload = evil(record);
      payload.record.left = ['acme'];
      return forged(payload);
    },
  };

  it.each(Object.entries(TAMPERED))(
    'is ignored where it %s: the refresh token’s claims count',
    async (_, tamper) => {
      const { assembly, first } = await chosen();
      overwrite(first, tamper(recordOf(first) as string));
      expect(await tenantAfterRefresh(assembly, first)).toBe('acme');
    },
  );

  it('of another session, put in its place, is ignored', async () => {
    const { assembly, tokens, first } = await chosen();
    const other = await tokens.issue('alice');
    await tokens.reissue(other.claims, { tenant: 'evil' });
    overwrite(first, recordOf(other) as string);
    expect(await tenantAfterRefresh(assembly, first)).toBe('acme');
    expect(await tenantAfterRefresh(assembly, other)).toBe('evil');
  });

  it('that cannot be read stands in nobody’s way: the next change replaces it', async () => {
    const { assembly, tokens, first, switched } = await chosen();
    overwrite(first, 'garbage');
    await tokens.reissue(switched.claims, { tenant: 'initech' });
    expect(await tenantAfterRefresh(assembly, first)).toBe('initech');
  });

  it('is no token of either kind', async () => {
    const { tokens, refreshTokens, first } = await chosen();
    const record = recordOf(first) as string;
    expect(await ending(tokens.verify(record))).toBe('TOKEN_INVALID');
    expect(await ending(refreshTokens?.refresh(record) as Promise<unknown>)).toBe('INVALID_GRANT');
  });

  it.each([0, 5_000])(
    'outlives the session, read on a host %p ms ahead or behind',
    async (offset) => {
      for (const [writer, reader] of [
        [offset, 0],
        [0, offset],
      ] as const) {
        clock.time = 1_800_000_000_999;
        const shared = new Map();
        const host = (ahead: number) => {
          const own = clock.ahead(ahead);
          const options = { ...OPTIONS, session: { maxAge: '100m' } } as const;
          return assembled(options, { clock: own, store: new MemoryStore(own, shared) });
        };
        const [one, two] = [host(writer), host(reader)];
        let issued = await one.tokens.issue('alice');
        await one.tokens.reissue(issued.claims, { tenant: 'globex' });
        const end = (issued.claims.auth_time + 6_000) * 1_000;
        for (let use = 0; use < 2; use++) {
          clock.advance(45 * 60_000);
          issued = await refresh(two, issued);
        }
        clock.time = end - reader - 1;
        expect(await tenantAfterRefresh(two, issued)).toBe('globex');
        clock.time = end - reader;
        expect(await ending(refresh(two, issued))).toBe('INVALID_GRANT');
      }
    },
  );

  const skews = [0, 5_000].flatMap((a) =>
    [0, 5_000].flatMap((b) => [0, 5_000].map((c) => [a, b, c])),
  );

  it.each(skews)(
    'outlives the refresh tokens that were made before it: %p, %p and %p ms ahead',
    async (issuer = 0, writer = 0, reader = 0) => {
      clock.time = 1_800_000_000_999;
      const entries = new Map();
      const host = (ahead: number) => {
        const own = clock.ahead(ahead);
        return assembled(OPTIONS, { clock: own, store: new MemoryStore(own, entries) });
      };
      const first = await host(issuer).tokens.issue('alice');
      await host(writer).tokens.reissue(first.claims, { tenant: 'globex' });
      const end = (first.refreshClaims?.exp as number) * 1_000 + 5_000 - reader;
      clock.time = end - 1;
      expect(await tenantAfterRefresh(host(reader), first)).toBe('globex');
      clock.time = end;
      expect(await ending(refresh(host(reader), first))).toBe('INVALID_GRANT');
    },
  );

  it.each(['is the first to write', 'writes after it'])(
    'is kept as long by a service that knows of no refresh tokens, whose sessions are short: it %s',
    async (order) => {
      clock.time = 1_800_000_000_000;
      const assembly = service({
        refresh: { tokens: { expiresIn: '14d' } },
        claims: (_, previous) => ({ tenant: previous?.tenant ?? 'acme', theme: previous?.theme }),
      });
      const { refresh: _, ...others } = OPTIONS;
      const other = assembled(
        {
          ...others,
          denyList: { claims: ['tenant'], longestLifetime: '14d' },
          session: { maxAge: '1d' },
          claims: (_user, previous) => ({ tenant: previous?.tenant, theme: previous?.theme }),
        },
        { clock, store },
      );
      const day = 86_400_000;
      const login = await assembly.tokens.issue('alice');
      clock.advance(2 * day);
      const held = await refresh(assembly, login);
      let { claims } = held;
      for (const { tokens } of order.startsWith('is') ? [other] : [assembly, other]) {
        ({ claims } = await tokens.reissue(claims, { tenant: 'globex', theme: 'dark' }));
      }
      clock.advance(14 * day - 2_000);
      const { claims: next } = await refresh(assembly, held);
      expect(next).toMatchObject({ tenant: 'globex', theme: 'dark' });
      await assembly.tokens.revoke({ tenant: 'globex' });
      expect(await ending(refresh(assembly, held))).toBe('INVALID_GRANT');
    },
  );

  it('is true however long ago the token has expired that it was made from', async () => {
    const { assembly, first } = await chosen();
    clock.advance(58 * 60_000);
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });
});

describe('a tenant that is shut', () => {
  it('ends at the next refresh the sessions that have chosen it', async () => {
    const { assembly, tokens, first, switched } = await chosen();
    await tokens.revoke({ tenant: 'globex' });
    expect(await ending(tokens.verify(switched.accessToken))).toBe('TOKEN_REVOKED');
    expect(await ending(refresh(assembly, first))).toBe('INVALID_GRANT');
  });

  it('ends sessions that were refreshed since, whichever token they use', async () => {
    const { assembly, tokens, first } = await chosen();
    const second = await refresh(assembly, first);
    await tokens.revoke({ tenant: 'globex' });
    expect(await ending(tokens.verify(second.accessToken))).toBe('TOKEN_REVOKED');
    for (const token of [first, second]) {
      expect(await ending(refresh(assembly, token))).toBe('INVALID_GRANT');
    }
  });

  it('does not end a session that had left it before', async () => {
    const { assembly, tokens, first, switched } = await chosen();
    await tokens.revoke({ tenant: 'acme' });
    expect(await ending(tokens.verify(switched.accessToken))).toBe('ok');
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
  });

  it('does not end a session that had left it and was refreshed since', async () => {
    const { assembly, tokens, first } = await chosen();
    const second = await refresh(assembly, first);
    await tokens.revoke({ tenant: 'acme' });
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
    expect(await tenantAfterRefresh(assembly, second)).toBe('globex');
  });

  it('before it was chosen is no matter: it has opened again', async () => {
    const assembly = service();
    const first = await assembly.tokens.issue('alice');
    await assembly.tokens.revoke({ tenant: 'globex' });
    await assembly.tokens.reissue(first.claims, { tenant: 'globex' });
    const second = await refresh(assembly, first);
    expect(second.claims.tenant).toBe('globex');
    expect(await ending(assembly.tokens.verify(second.accessToken))).toBe('ok');
    await assembly.tokens.revoke({ tenant: 'globex' });
    expect(await ending(refresh(assembly, second))).toBe('INVALID_GRANT');
  });

  it('lets nobody back in who was in it, by choosing another one afterwards', async () => {
    const { tokens, assembly, first } = await chosen('acme');
    await tokens.revoke({ tenant: 'acme' });
    expect(await ending(tokens.reissue(first.claims, { tenant: 'globex' }))).toBe('TOKEN_REVOKED');
    expect(await ending(refresh(assembly, first))).toBe('INVALID_GRANT');
  });
});

describe('a session that leaves a scope during its refresh', () => {
  async function leaving(during: (assembly: Assembly) => Promise<unknown>) {
    let tenant = 'acme';
    let happens: () => Promise<unknown> = async () => {};
    const assembly = service({
      claims: async () => {
        const claims = { tenant };
        await happens();
        return claims;
      },
    });
    const first = await assembly.tokens.issue('alice');
    const why: string[] = [];
    assembly.events.on('revoked', (event) => void why.push(event.why));
    tenant = 'globex';
    happens = () => during(assembly);
    const outcome = await refresh(assembly, first).catch(({ code }) => code as string);
    happens = async () => {};
    return { assembly, tokens: assembly.tokens, first, outcome, why };
  }

  it('goes on in the other one', async () => {
    const { assembly, outcome } = await leaving(async () => {});
    const issued = outcome as IssuedToken;
    expect(issued.claims.tenant).toBe('globex');
    expect(await tenantAfterRefresh(assembly, issued)).toBe('globex');
  });

  it('does not slip out of a revocation that came meanwhile', async () => {
    const { assembly, tokens, first, outcome, why } = await leaving((a) =>
      a.tokens.revoke({ tenant: 'acme' }),
    );
    expect(outcome).toBe('INVALID_GRANT');
    expect(new Set(why)).toEqual(new Set(['request', 'left-scope']));
    expect(await ending(tokens.verify(first.accessToken))).toBe('TOKEN_REVOKED');
    expect(await ending(refresh(assembly, first))).toBe('INVALID_GRANT');
  });

  it('is 503 where the claims change their tenant each time they are read', async () => {
    let n = 0;
    const assembly = service({ claims: () => ({ tenant: `tenant-${n}` }) });
    const first = await assembly.tokens.issue('alice');
    store.onOperation = () => {
      n += 1;
      return undefined;
    };
    expect(await ending(refresh(assembly, first))).toBe('CLAIMS_UNAVAILABLE');
    expect(
      store.get(storeKeys.next(first.refreshClaims?.jti as string, 'refresh')),
    ).toBeUndefined();
  });
});

describe('a session that its source has moved to another tenant and back', () => {
  type Move = (assembly: Assembly, held: IssuedToken) => Promise<IssuedToken>;
  /** What the client holds afterwards: a reissue brings no refresh token. */
  const MOVES: Record<string, Move> = {
    'a refresh': ({ tokens }, held) => tokens.refresh(held.refreshToken as string),
    'a reissue': async ({ tokens }, held) =>
      withRefreshTokenOf(held, await tokens.reissue(held.claims)),
    'a request': async ({ tokens, resolver }, held) => {
      await tokens.markStale({ sub: 'alice' });
      const { issued } = await resolver.resolve(held.claims, 'reissue');
      return withRefreshTokenOf(held, issued as IssuedToken);
    },
  };
  const WAYS = Object.keys(MOVES).flatMap((there) =>
    Object.keys(MOVES).map((back) => ({ there, back })),
  );

  const moved = async (...ways: string[]) => {
    let tenant = 'acme';
    const assembly = service({ claims: () => ({ tenant }) });
    let held = await assembly.tokens.issue('alice');
    for (const way of ways) {
      clock.advance(1_000);
      tenant = tenant === 'acme' ? 'globex' : 'acme';
      held = await (MOVES[way] as Move)(assembly, held);
      expect(held.claims.tenant).toBe(tenant);
    }
    return { assembly, held };
  };
  const endingsOf = async ({ assembly, held }: Awaited<ReturnType<typeof moved>>) => [
    await ending(assembly.tokens.verify(held.accessToken)),
    await ending(refresh(assembly, held)),
  ];

  it.each(WAYS)('by $there and $back, is not ended with the one it has left', async (ways) => {
    const session = await moved(ways.there, ways.back);
    await session.assembly.tokens.revoke({ tenant: 'globex' });
    expect(await endingsOf(session)).toEqual(['ok', 'ok']);
  });

  it.each(WAYS)('by $there and $back, is ended with the one it is in', async (ways) => {
    const session = await moved(ways.there, ways.back);
    await session.assembly.tokens.revoke({ tenant: 'acme' });
    expect(await endingsOf(session)).toEqual(['TOKEN_REVOKED', 'INVALID_GRANT']);
  });

  it.each(Object.keys(MOVES))('by %s there only, is ended with the other one', async (there) => {
    const session = await moved(there);
    await session.assembly.tokens.revoke({ tenant: 'globex' });
    expect(await endingsOf(session)).toEqual(['TOKEN_REVOKED', 'INVALID_GRANT']);
  });

  it.each(Object.keys(MOVES))('by %s there only, is not ended with the first', async (there) => {
    const session = await moved(there);
    await session.assembly.tokens.revoke({ tenant: 'acme' });
    expect(await endingsOf(session)).toEqual(['ok', 'ok']);
  });
});

/** What a client holds that got a new access token and keeps its refresh token. */
function withRefreshTokenOf(held: IssuedToken, issued: IssuedToken): IssuedToken {
  const { accessToken, claims } = issued;
  const { refreshToken, refreshClaims } = held;
  return { accessToken, claims, refreshToken, refreshClaims } as IssuedToken;
}

describe('without a claims source', () => {
  const issue = async (claims: Record<string, unknown>) => {
    const assembly = service({ claims: undefined });
    const first = await assembly.tokens.issue('alice', claims);
    return { assembly, tokens: assembly.tokens, first };
  };

  it.each(['first', 'last'])(
    'a tab’s choice of a theme does not bring back the plan it still has: made %s',
    async (moment) => {
      const { assembly, tokens, first } = await issue({ plan: 'free', theme: 'light' });
      const one = await refresh(assembly, first);
      const two = await refresh(assembly, first);
      const changes = [
        () => tokens.reissue(one.claims, { plan: 'premium' }),
        () => tokens.reissue(two.claims, { theme: 'dark' }),
      ];
      for (const change of moment === 'last' ? changes : changes.reverse()) {
        clock.advance(1_000);
        await change();
      }
      for (const held of [two, one, first]) {
        const { claims } = await refresh(assembly, held);
        expect(claims).toMatchObject({ plan: 'premium', theme: 'dark' });
      }
    },
  );

  it('a claim that was changed to null stays null, for every token of the session', async () => {
    const { assembly, tokens, first } = await issue({ plan: 'free', theme: 'light' });
    const changed = await tokens.reissue(first.claims, { theme: null });
    expect(changed.claims).toMatchObject({ plan: 'free', theme: null });
    const second = await refresh(assembly, first);
    const third = await refresh(assembly, second);
    for (const { claims } of [second, third, await refresh(assembly, first)]) {
      expect(claims).toMatchObject({ plan: 'free', theme: null });
    }
  });

  it('a tenant that was changed to null is left: it can be shut', async () => {
    const { assembly, tokens, first } = await issue({ tenant: 'acme' });
    await tokens.reissue(first.claims, { tenant: null });
    await tokens.revoke({ tenant: 'acme' });
    const second = await refresh(assembly, first);
    expect(second.claims.tenant).toBeNull();
    expect(await ending(tokens.verify(second.accessToken))).toBe('ok');
    expect(await ending(refresh(assembly, second))).toBe('ok');
  });

  it('a tenant that was changed to null and chosen again is its tenant again', async () => {
    const { assembly, tokens, first } = await issue({ tenant: 'acme' });
    const left = await tokens.reissue(first.claims, { tenant: null });
    clock.advance(1_000);
    await tokens.reissue(left.claims, { tenant: 'acme' });
    expect(await tenantAfterRefresh(assembly, first)).toBe('acme');
    await tokens.revoke({ tenant: 'acme' });
    expect(await ending(refresh(assembly, first))).toBe('INVALID_GRANT');
  });
});

describe('what a refresh token has seen of the record', () => {
  it.each(['tenant', 'theme'])(
    'is not laid over what the source has said since: %s',
    async (name) => {
      let forced: string | undefined;
      const assembly = service({
        claims: (_, previous) => ({ [name]: forced ?? previous?.[name] ?? 'default' }),
      });
      const valueAfterRefresh = async (issued: IssuedToken) =>
        (await refresh(assembly, issued)).claims[name];
      const first = await assembly.tokens.issue('alice');
      clock.advance(1_000);
      await assembly.tokens.reissue(first.claims, { [name]: 'chosen' });
      const second = await refresh(assembly, first);
      expect(second.claims[name]).toBe('chosen');
      forced = 'forced';
      const third = await refresh(assembly, second);
      forced = undefined;
      // In grace, and when that is over.
      for (let again = 0; again < 2; again++) {
        expect(await valueAfterRefresh(second)).toBe('forced');
        clock.advance(GRACE);
      }
      expect(await valueAfterRefresh(third)).toBe('forced');
    },
  );

  it('may be nothing, where it was in flight when the session chose: the next one knows it', async () => {
    const reached = new Latch('the source is asked by the refresh');
    const released = new Latch('the session has chosen');
    let isRefreshing = false;
    const assembly = service({
      claims: async (_, previous) => {
        if (isRefreshing) {
          isRefreshing = false;
          reached.open();
          await released.opened;
        }
        return { tenant: previous?.tenant ?? 'acme' };
      },
    });
    const first = await assembly.tokens.issue('alice');
    isRefreshing = true;
    const inFlight = refresh(assembly, first);
    await reached.reached();
    clock.advance(1_000);
    await assembly.tokens.reissue(first.claims, { tenant: 'globex' });
    released.open();
    // This one may know of it or not.
    const second = await inFlight;
    expect(await tenantAfterRefresh(assembly, first)).toBe('globex');
    await assembly.tokens.revoke({ tenant: 'acme' });
    const third = await refresh(assembly, second);
    expect(third.claims.tenant).toBe('globex');
    await assembly.tokens.revoke({ tenant: 'globex' });
    expect(await ending(refresh(assembly, third))).toBe('INVALID_GRANT');
  });
});

describe('the payload of a refresh token', () => {
  const payloadOf = ({ refreshToken = '' }: IssuedToken) =>
    JSON.parse(Buffer.from(refreshToken.split('.')[1] ?? '', 'base64url').toString());
  const TOP = ['exp', 'iat', 'iss', 'jti', 'refresh', 'sid'];

  it('names no subject, no audience and no claim of the application where others look', async () => {
    const parties = { issuer: 'us', audience: ['web', 'app'] };
    const { assembly, first } = await chosen('globex', parties);
    for (const issued of [first, await refresh(assembly, first)]) {
      expect(Object.keys(payloadOf(issued)).sort()).toEqual(TOP);
    }
    const { sub, aud, plan: kept } = payloadOf(first).refresh;
    expect({ sub, aud, plan: kept }).toEqual({ sub: 'alice', aud: ['web', 'app'], plan: 'free' });
  });

  it('does not, whatever the application calls its claims', async () => {
    const assembly = service({ claims: undefined, issuer: 'us' });
    const first = await assembly.tokens.issue('alice', { refresh: 'yes', admin: true });
    expect(Object.keys(payloadOf(first)).sort()).toEqual(TOP);
    const second = await refresh(assembly, first);
    expect(second.claims).toMatchObject({ refresh: 'yes', admin: true, sub: 'alice' });
  });
});
