import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { SessionRecord } from '../../lib/session/session-record.js';
import type { IssuedToken } from '../../lib/token/issued-token.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { Latch } from '../support/latch.js';
import { type Fault, MemoryStore, type Operation } from '../support/memory-store.js';
import { assembled, ending, storeKeys } from '../support/setup.js';

/*
 * A session leaves a tenant while that is shut. If the revocation was confirmed before any record said
 * that the session had left, the session ends: in every process, and whatever fails on the way. If the
 * session had left before, it is not concerned.
 */

Logger.overrideLogger(false);

const clock = new FakeClock();
let store: MemoryStore;
/** What the claims source answers; without it, what the session has. */
let tenant: string | undefined;
/** The claims source waits for it, and tells that it was asked. */
let gate: { asked: Latch; opened: Latch; waiting: number } | undefined;

beforeEach(() => {
  clock.time = 1_800_000_000_000;
  store = new MemoryStore(clock);
  tenant = 'acme';
  gate = undefined;
});

const service = (ahead = 0) => {
  const options = {
    accessToken: { expiresIn: '15m' },
    refresh: { tokens: { expiresIn: '1h' } },
    denyList: { claims: ['tenant'] },
    claims: async (_: string, previous: VerifiedToken | undefined) => {
      const claims = { tenant: tenant ?? previous?.tenant ?? 'acme' };
      await passGate();
      return claims;
    },
  } as const;
  return assembled(options, { clock: clock.ahead(ahead), store });
};
type Service = ReturnType<typeof service>;

async function passGate(): Promise<void> {
  if (!gate) return;
  const { asked, opened } = gate;
  gate.waiting -= 1;
  if (gate.waiting === 0) asked.open();
  await opened.opened;
}

/** Holds the claims source until so many have asked it. */
function close(waiting = 1) {
  const held = {
    asked: new Latch('the source is asked'),
    opened: new Latch('it answers'),
    waiting,
  };
  gate = held;
  return {
    asked: () => held.asked.reached(),
    open: () => {
      gate = undefined;
      held.opened.open();
    },
  };
}

const refresh = ({ tokens }: Service, { refreshToken = '' }: IssuedToken) =>
  tokens.refresh(refreshToken);
const recordOf = ({ claims: { sid } }: IssuedToken): SessionRecord | undefined => {
  const payload = store.get(storeKeys.session(sid))?.split('.')[1];
  return payload && JSON.parse(Buffer.from(payload, 'base64url').toString()).record;
};
const isSupersession = ({ verb, key }: Operation) =>
  verb === 'writeIfAbsent' && key.includes(':next:');
const isRecord = (issued: IssuedToken) => (operation: Operation) =>
  operation.key === storeKeys.session(issued.claims.sid);

/** One operation goes wrong, the next ones of its kind do not. */
function once(fault: Fault, concerns: (operation: Operation) => boolean): void {
  let isDone = false;
  store.onOperation = (operation) => {
    if (isDone || !concerns(operation)) return undefined;
    isDone = true;
    return fault;
  };
}

/** The record is written, and nobody answers whether what it has left was left in time. */
function losesSight(): void {
  let isWritten = false;
  once('lost', ({ verb }) => {
    if (verb === 'writeIfUnchanged') isWritten = true;
    return isWritten && verb === 'read';
  });
}

/** How a session comes to another tenant. */
const WAYS: Record<string, (service: Service, issued: IssuedToken) => Promise<unknown>> = {
  'a refresh': refresh,
  'a reissue': ({ tokens }, { claims }) => tokens.reissue(claims),
  'a request': async ({ resolver }, { claims }) => resolver.resolve(claims, 'reissue'),
  'a choice': ({ tokens }, { claims }) => tokens.reissue(claims, { tenant: 'globex' }),
};

async function expectTheEnd(issued: IssuedToken, ...others: IssuedToken[]): Promise<void> {
  const one = service();
  for (const { accessToken, refreshToken } of [issued, ...others]) {
    expect(await ending(one.tokens.verify(accessToken))).toBe('TOKEN_REVOKED');
    if (refreshToken === undefined) continue;
    expect(await ending(one.tokens.refresh(refreshToken))).toBe('INVALID_GRANT');
  }
}

describe('a tenant that is shut while a session leaves it', () => {
  async function leaving(way: string, fault?: () => void) {
    const one = service();
    const issued = await one.tokens.issue('alice');
    await one.tokens.markStale({ sub: 'alice' });
    const source = close();
    tenant = 'globex';
    const running = ending(WAYS[way]?.(one, issued));
    await source.asked();
    await one.tokens.revoke({ tenant: 'acme' });
    fault?.();
    source.open();
    const outcome = await running;
    store.onOperation = () => undefined;
    return { issued, outcome };
  }

  it.each(Object.keys(WAYS))('ends it: by %s', async (way) => {
    const { issued, outcome } = await leaving(way);
    expect(outcome).toMatch(/TOKEN_REVOKED|INVALID_GRANT/);
    await expectTheEnd(issued);
  });

  const FAULTS: Record<string, [Fault, (operation: Operation) => boolean]> = {
    'the successor is not written': ['lost', isSupersession],
    'the successor is not confirmed': ['unconfirmed', isSupersession],
    'the record is not confirmed': ['unconfirmed', ({ verb }) => verb === 'writeIfUnchanged'],
    'the record is not written': ['lost', ({ verb }) => verb === 'writeIfUnchanged'],
    'the end is not written': ['lost', ({ verb, key }) => verb === 'write' && key.includes('sid')],
  };
  const rounds = Object.keys(WAYS).flatMap((way) =>
    Object.keys(FAULTS).map((fault) => ({ way, fault })),
  );

  it.each(rounds)('ends it, also where $fault: by $way', async ({ way, fault }) => {
    const { issued, outcome } = await leaving(way, () =>
      once(...(FAULTS[fault] as [Fault, never])),
    );
    expect(outcome).not.toBe('ok');
    await expectTheEnd(issued);
  });

  it.each([2, 10])('ends it: by %p refreshes at once', async (n) => {
    const [one, two] = [service(), service()];
    const issued = await one.tokens.issue('alice');
    const source = close(n);
    tenant = 'globex';
    const running = Array.from({ length: n }, (_, i) => ending(refresh(i % 2 ? one : two, issued)));
    await source.asked();
    await one.tokens.revoke({ tenant: 'acme' });
    source.open();
    expect(new Set(await Promise.all(running))).toEqual(new Set(['INVALID_GRANT']));
    await expectTheEnd(issued);
  });

  it('ends it, though the one who has moved it never comes back', async () => {
    const [one, two] = [service(), service()];
    const issued = await one.tokens.issue('alice');
    await one.tokens.markStale({ sub: 'alice' });
    const source = close(2);
    tenant = 'globex';
    const [dying, other] = [one, two].map(({ resolver }) =>
      resolver.resolve(issued.claims, 'reissue').then(
        () => 'ok',
        ({ code }) => code as string,
      ),
    );
    await source.asked();
    await one.tokens.revoke({ tenant: 'acme' });
    let isWritten = false;
    store.onOperation = (operation) => {
      // Whoever has written the record first is not answered any more.
      if (isRecord(issued)(operation)) isWritten = true;
      else if (isWritten) {
        store.onOperation = () => undefined;
        return 'hangs';
      }
      return undefined;
    };
    source.open();
    expect(await Promise.race([dying, other])).toBe('TOKEN_REVOKED');
    await expectTheEnd(issued);
  });

  it.each([
    ['a refresh', 'globex'],
    ['a reissue', 'acme'],
    ['a reissue', 'globex'],
  ])('ends it, though it is the third by now: %s, and %s was shut', async (way, shut) => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    // The record says so, and nobody knows whether that was in time.
    losesSight();
    expect(await ending(WAYS[way]?.(one, issued))).toBe('DENY_LIST_UNAVAILABLE');
    tenant = 'initech';
    const source = close();
    const running = ending(WAYS[way]?.(one, issued));
    await source.asked();
    await one.tokens.revoke({ tenant: shut });
    source.open();
    expect(await running).toMatch(/INVALID_GRANT|TOKEN_REVOKED/);
    await expectTheEnd(issued);
  });
});

describe('a tenant that is shut when a session has left it', () => {
  async function left(way: string) {
    const one = service();
    const issued = await one.tokens.issue('alice');
    await one.tokens.markStale({ sub: 'alice' });
    clock.advance(1_000);
    tenant = 'globex';
    await WAYS[way]?.(one, issued);
    return { ...one, one, issued };
  }

  it.each(Object.keys(WAYS))('is no matter: by %s', async (way) => {
    const { one, tokens, issued } = await left(way);
    await tokens.revoke({ tenant: 'acme' });
    const next = await refresh(one, issued);
    expect(next.claims.tenant).toBe('globex');
    expect(await ending(tokens.verify(next.accessToken))).toBe('ok');
  });

  it.each(Object.keys(WAYS))('is remembered no longer than it must be: by %s', async (way) => {
    const { issued } = await left(way);
    expect(recordOf(issued)).toMatchObject({ choices: { tenant: { value: 'globex' } } });
    expect(recordOf(issued)).not.toHaveProperty('left');
  });

  it('is found by the next refresh to have been left in time, if nobody else has', async () => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    losesSight();
    expect(await ending(refresh(one, issued))).toBe('DENY_LIST_UNAVAILABLE');
    expect(recordOf(issued)?.left).toEqual([{ name: 'tenant', value: 'acme' }]);
    const next = await refresh(one, issued);
    expect(recordOf(issued)).not.toHaveProperty('left');
    await one.tokens.revoke({ tenant: 'acme' });
    expect(await ending(one.tokens.verify(next.accessToken))).toBe('ok');
    expect(await ending(refresh(one, next))).toBe('ok');
  });

  it('ends it where nobody has found that, since a write had failed: on the safe side', async () => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    losesSight();
    await ending(refresh(one, issued));
    await one.tokens.revoke({ tenant: 'acme' });
    await expectTheEnd(issued);
  });

  it.each(Object.keys(WAYS))(
    'is 503 where nobody answers whether it was in time: by %s',
    async (way) => {
      const one = service();
      const issued = await one.tokens.issue('alice');
      await one.tokens.markStale({ sub: 'alice' });
      tenant = 'globex';
      let isWritten = false;
      store.onOperation = (operation) => {
        if (operation.verb === 'writeIfUnchanged') isWritten = true;
        return isWritten && operation.verb === 'read' ? 'lost' : undefined;
      };
      expect(await ending(WAYS[way]?.(one, issued))).toBe('DENY_LIST_UNAVAILABLE');
      store.onOperation = () => undefined;
      // Nothing was consumed: the client may come back whenever it likes.
      clock.advance(600_000);
      expect(await ending(WAYS[way]?.(one, issued))).toBe('ok');
      expect((await refresh(one, issued)).claims.tenant).toBe('globex');
      await one.tokens.revoke({ tenant: 'acme' });
      expect(await ending(refresh(one, issued))).toBe('ok');
    },
  );

  it('does not end it by a reissue that was under way: another tab has been answered', async () => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    const superseding = new Latch('the reissue has written the record');
    const released = new Latch('the tenant was shut');
    store.onOperation = async (operation) => {
      if (!isSupersession(operation)) return undefined;
      store.onOperation = () => undefined;
      superseding.open();
      await released.opened;
      return undefined;
    };
    const running = ending(one.tokens.reissue(issued.claims));
    await superseding.reached();
    const answered = await refresh(service(), issued);
    await one.tokens.revoke({ tenant: 'acme' });
    released.open();
    expect(await running).toBe('ok');
    expect(await ending(one.tokens.verify(answered.accessToken))).toBe('ok');
    expect(await ending(refresh(one, answered))).toBe('ok');
  });
});

describe('a tenant that was shut before the session began', () => {
  it.each(Object.keys(WAYS))('does not end it when it leaves: by %s', async (way) => {
    const one = service();
    await one.tokens.revoke({ tenant: 'acme' });
    const issued = await one.tokens.issue('alice');
    await one.tokens.markStale({ sub: 'alice' });
    tenant = 'globex';
    expect(await ending(WAYS[way]?.(one, issued))).toBe('ok');
    const next = await refresh(one, issued);
    expect(await ending(refresh(one, next))).toBe('ok');
  });

  it('does not, where somebody else has to find that it had left in time', async () => {
    const one = service();
    await one.tokens.revoke({ tenant: 'acme' });
    const first = await one.tokens.issue('alice');
    const second = await refresh(one, first);
    tenant = 'globex';
    // The token changes, and that it left in time is not written down. What it knows is of globex only.
    let writes = 0;
    once('lost', ({ verb }) => verb === 'writeIfUnchanged' && ++writes === 2);
    const third = await refresh(one, second);
    store.onOperation = () => undefined;
    expect(recordOf(first)?.left).toEqual([{ name: 'tenant', value: 'acme' }]);
    expect(await ending(refresh(one, third))).toBe('ok');
    expect(await ending(refresh(one, second))).toBe('ok');
  });
});

describe('a session that comes back to a tenant it has left', () => {
  it('is there again: a new revocation ends it, the one from between does not', async () => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    await refresh(one, issued);
    await one.tokens.revoke({ tenant: 'acme' });
    tenant = 'acme';
    const back = await refresh(one, issued);
    expect(back.claims.tenant).toBe('acme');
    expect(await ending(one.tokens.verify(back.accessToken))).toBe('ok');
    expect(await ending(refresh(one, back))).toBe('ok');
    await one.tokens.revoke({ tenant: 'acme' });
    await expectTheEnd(issued, back);
  });

  it('before anybody knows that it had left: the revocation from between ends it', async () => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    losesSight();
    expect(await ending(refresh(one, issued))).toBe('DENY_LIST_UNAVAILABLE');
    await one.tokens.revoke({ tenant: 'acme' });
    tenant = 'acme';
    await expectTheEnd(issued);
  });

  it('before anybody knows that, and it was not shut: it is there, and nowhere else', async () => {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = 'globex';
    losesSight();
    expect(await ending(refresh(one, issued))).toBe('DENY_LIST_UNAVAILABLE');
    tenant = 'acme';
    const back = await refresh(one, issued);
    await one.tokens.revoke({ tenant: 'globex' });
    expect(await ending(refresh(one, back))).toBe('ok');
    await one.tokens.revoke({ tenant: 'acme' });
    await expectTheEnd(issued, back);
  });
});

describe('a session that was shut out of a tenant by one of its tabs', () => {
  /** Two access tokens of one session; the first has taken it to globex, which was shut then. */
  async function tabs() {
    const one = service();
    const issued = await one.tokens.issue('alice');
    tenant = undefined;
    const [a, b] = [await refresh(one, issued), await refresh(one, issued)];
    return { one, issued, a, b };
  }

  it('does not come back by the other tab: it has been in that tenant', async () => {
    const { one, issued, a, b } = await tabs();
    const there = await one.tokens.reissue(a.claims, { tenant: 'globex' });
    await one.tokens.revoke({ tenant: 'globex' });
    const again = ending(one.tokens.reissue(b.claims, { tenant: 'globex' }));
    expect(await again).toBe('TOKEN_REVOKED');
    await expectTheEnd(issued, there, a);
  });

  it('does not, though the other one was on its way there and had not heard of it', async () => {
    const { one, issued, a, b } = await tabs();
    // The marks of globex are read when the source has answered, and after it was shut.
    await one.tokens.markStale({ sub: 'alice' });
    const source = close();
    const running = ending(one.tokens.reissue(b.claims, { tenant: 'globex' }));
    await source.asked();
    const other = service();
    gate = undefined;
    const there = await other.tokens.reissue(a.claims, { tenant: 'globex' });
    await other.tokens.revoke({ tenant: 'globex' });
    source.open();
    expect(await running).toBe('TOKEN_REVOKED');
    await expectTheEnd(issued, there);
  });

  it('does not by a refresh that was on its way there either', async () => {
    const { one, issued, a, b } = await tabs();
    const source = close();
    tenant = 'globex';
    const running = ending(refresh(one, b));
    await source.asked();
    tenant = undefined;
    const other = service();
    gate = undefined;
    const there = await other.tokens.reissue(a.claims, { tenant: 'globex' });
    await other.tokens.revoke({ tenant: 'globex' });
    source.open();
    expect(await running).toBe('INVALID_GRANT');
    expect(await ending(one.tokens.verify(there.accessToken))).toBe('TOKEN_REVOKED');
    for (const token of [issued, b])
      expect(await ending(refresh(one, token))).toBe('INVALID_GRANT');
  });
});

describe('the record of a session that moves for ever', () => {
  it('does not grow', async () => {
    const one = service();
    let issued = await one.tokens.issue('alice');
    const sizes: number[] = [];
    for (let move = 0; move < 40; move++) {
      clock.advance(1_000);
      tenant = `tenant-${10 + (move % 20)}`;
      // Each was shut at some time, and has opened again.
      await one.tokens.revoke({ tenant });
      issued = await refresh(one, issued);
      sizes.push(store.get(storeKeys.session(issued.claims.sid))?.length ?? 0);
    }
    expect(Math.max(...sizes.slice(2))).toBe(sizes[2]);
    // Of the tenant that it is in, and of the one that it has left.
    expect(recordOf(issued)?.revoked).toHaveLength(2);
  });
});

describe('100 refreshes at once, in two processes, of a session that the source has moved', () => {
  it.each(['at once', 'each in its time'])(
    'are answered, with one successor and few operations: the store %s',
    async (speed) => {
      const [one, two] = [service(), service()];
      const issued = await one.tokens.issue('alice');
      clock.advance(1_000);
      tenant = 'globex';
      let turn = 0;
      store.onOperation = async () => {
        turn += 1;
        if (speed !== 'at once') for (let n = (turn * 7) % 5; n > 0; n--) await nextTurn();
        return undefined;
      };
      const before = store.operations.length;
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => refresh(i % 2 ? one : two, issued)),
      );
      expect(new Set(answers.map(({ refreshClaims }) => refreshClaims?.jti)).size).toBe(1);
      expect(new Set(answers.map(({ claims }) => claims.tenant))).toEqual(new Set(['globex']));
      expect((store.operations.length - before) / 100).toBeLessThan(13);
    },
  );
});
