import { readdirSync, readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import {
  ExpectationError,
  expectNotReissued,
  expectReissued,
  reissuedToken,
  TestClock,
  TestDenyList,
  type TestResponse,
  TestToken,
} from 'nestjs-jwt-state/testing';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import type { DenyListStore } from '../../lib/deny-list/deny-list.store.js';
import { type NativeStore, nativeStoreOf } from '../../lib/deny-list/native-store.js';
import { JwtStateConfigError, TokenInvalidError } from '../../lib/jwt-state.errors.js';
import { FakeClock } from '../support/fake-clock.js';
import { forge } from '../support/forge.js';

describe('TestClock', () => {
  it('runs with the real time, and ahead of it once it was advanced', () => {
    const clock = new TestClock();
    const before = Date.now();
    expect(clock.now() - before).toBeLessThan(1_000);
    clock.advance('5m');
    clock.advance(30);
    expect(clock.now()).toBeGreaterThanOrEqual(before + 330_000);
    expect(clock.now()).toBeLessThan(before + 331_000);
    clock.reset();
    expect(clock.now() - before).toBeLessThan(1_000);
  });

  it('stands still where it was set or stopped, until it is advanced', async () => {
    const clock = new TestClock('2030-01-01T00:00:00Z');
    const start = Date.UTC(2030, 0, 1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(clock.now()).toBe(start);
    clock.advance('1h');
    expect(clock.now()).toBe(start + 3_600_000);
    clock.advance('-90m');
    clock.advance(-0.5);
    expect(clock.now()).toBe(start - 1_800_500);
    clock.set(new Date(start));
    expect(clock.now()).toBe(start);
    clock.set(start - 1);
    expect(clock.now()).toBe(start - 1);
    clock.reset();
    clock.advance('1d');
    clock.stop();
    const stopped = clock.now();
    expect(stopped).toBeGreaterThan(Date.now() + 86_000_000);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(clock.now()).toBe(stopped);
  });

  it('refuses what is no time', () => {
    const clock = new TestClock();
    expect(() => clock.set('yesterday')).toThrow(RangeError);
    expect(() => new TestClock(Number.NaN)).toThrow(RangeError);
    for (const nonsense of ['900', '--5s', '-5', 'soon', Number.NaN, Infinity]) {
      expect(() => clock.advance(nonsense as '5s')).toThrow(JwtStateConfigError);
    }
  });
});

/** The store of a test deny list, as the module finds it. */
async function opened(denyList = new TestDenyList(), clock = new FakeClock()) {
  const store = nativeStoreOf(denyList.cache.stores[0]?.store) as NativeStore & DenyListStore;
  await store.open({ names: new DenyListKeys('p:'), clock });
  return { denyList, store, clock };
}

describe('TestDenyList', () => {
  it('is a store with an atomic "set if absent" that others may share', async () => {
    const { store } = await opened();
    expect(store).toMatchObject({ atomic: 'store', ephemeral: false });
    const answers = await Promise.all(
      ['one', 'two', 'three'].map((value) => store.writeIfAbsent('p:a', value, 1_000)),
    );
    expect(answers).toEqual([undefined, 'one', 'one']);
    expect(await store.writeIfUnchanged('p:a', 'two', 'late', 1_000)).toEqual({
      written: false,
      current: 'one',
    });
    expect(await store.writeIfUnchanged('p:a', 'one', 'next', 1_000)).toEqual({ written: true });
    expect(await store.read(['p:a', 'p:none'])).toEqual(['next', undefined]);
    await store.write('p:b', 'stands', undefined);
    const entry = (key: string) => ({ key, value: 'new', ttl: 1_000 });
    const both = (first: string, second: string) =>
      store.writeBothIfAbsent?.(entry(first), entry(second));
    expect(await both('p:b', 'p:c')).toEqual(['stands', undefined]);
    expect(await both('p:c', 'p:b')).toEqual([undefined, 'stands']);
    expect(await both('p:d', 'p:e')).toEqual([undefined, undefined]);
    expect(await store.read(['p:b', 'p:c', 'p:d', 'p:e'])).toEqual([
      'stands',
      undefined,
      'new',
      'new',
    ]);
  });

  it("ends entries by the application's clock", async () => {
    const { store, clock } = await opened();
    await store.write('p:a', 'short', 1_000);
    await store.write('p:b', 'for ever', undefined);
    clock.advance(999);
    expect(await store.read(['p:a'])).toEqual(['short']);
    clock.advance(1);
    expect(await store.read(['p:a', 'p:b'])).toEqual([undefined, 'for ever']);
    expect(await store.writeIfAbsent('p:a', 'again', 1_000)).toBeUndefined();
  });

  it('fails until it recovers', async () => {
    const { denyList, store } = await opened();
    await store.write('p:a', '1', 1_000);
    denyList.fail();
    await expect(store.read(['p:a'])).rejects.toThrow('told to fail');
    await expect(store.write('p:b', '1', 1_000)).rejects.toThrow('told to fail');
    denyList.recover();
    expect(await store.read(['p:a', 'p:b'])).toEqual(['1', undefined]);
  });

  it('fails for reads or writes only, for some keys only, for so many times', async () => {
    const { denyList, store } = await opened();
    denyList.fail({ only: 'read' });
    await store.write('p:a', '1', 1_000);
    await expect(store.read(['p:a'])).rejects.toThrow();
    denyList.fail({ only: 'write' });
    expect(await store.read(['p:a'])).toEqual(['1']);
    await expect(store.writeIfAbsent('p:a', '2', 1_000)).rejects.toThrow();

    denyList.fail({ keys: /:next:/g });
    expect(await store.read(['p:a'])).toEqual(['1']);
    for (let again = 0; again < 3; again++) {
      await expect(store.read(['p:a', 'p:next:x'])).rejects.toThrow();
    }
    const entry = (key: string) => ({ key, value: '1', ttl: 1_000 });
    await expect(store.writeBothIfAbsent?.(entry('p:jti:x'), entry('p:next:x'))).rejects.toThrow();

    denyList.fail({ times: 2, only: 'read' });
    await store.write('p:b', '1', 1_000);
    await expect(store.read(['p:a'])).rejects.toThrow();
    await expect(store.read(['p:a'])).rejects.toThrow();
    expect(await store.read(['p:a'])).toEqual(['1']);
  });

  it('does not answer while it hangs, and does then what it was asked', async () => {
    const { denyList, store } = await opened();
    denyList.hang();
    let isDone = false;
    const writing = store.write('p:a', 'late', 1_000).then(() => {
      isDone = true;
    });
    const reading = store.read(['p:a']);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isDone).toBe(false);
    denyList.recover();
    await writing;
    expect(await reading).toEqual(['late']);
    denyList.hang({ times: 1 });
    const first = store.read(['p:a']);
    expect(await store.read(['p:a'])).toEqual(['late']);
    denyList.recover();
    expect(await first).toEqual(['late']);
  });

  it('loses everything, or what is named', async () => {
    const { denyList, store } = await opened();
    const fill = () => Promise.all(['p:a', 'p:b'].map((key) => store.write(key, '1', undefined)));
    await fill();
    denyList.lose();
    expect(await store.read(['p:a', 'p:b'])).toEqual([undefined, undefined]);
    await fill();
    denyList.lose({ keys: /b$/ });
    expect(await store.read(['p:a', 'p:b'])).toEqual(['1', undefined]);
  });

  it('counts what it is sent', async () => {
    const { denyList, store } = await opened();
    await store.read(['p:a', 'p:b']);
    await store.write('p:a', '1', 1_000);
    denyList.fail();
    await expect(store.read(['p:a'])).rejects.toThrow();
    expect({ reads: denyList.reads, writes: denyList.writes }).toEqual({ reads: 2, writes: 1 });
  });

  it('can be looked into as a cache', async () => {
    const { denyList, store } = await opened();
    const { cache } = denyList;
    await cache.set('p:a', 'one', 1_000);
    expect(await cache.get('p:a')).toBe('one');
    await cache.del('p:a');
    expect(await store.read(['p:a'])).toEqual([undefined]);
    await cache.set('p:a', 'one');
    await cache.clear();
    expect(await store.read(['p:a'])).toEqual([undefined]);
  });
});

const token = (claims: object, typ = 'at+jwt') =>
  forge({ header: { typ }, payload: { sub: 'alice', sid: 's', jti: 'j', ...claims } });
const free = token({ plan: 'free', roles: ['member'], limits: { seats: 3, gb: 10 } });
const premium = token({ plan: 'premium' });
const refreshToken = token({}, 'rt+jwt');
const record = token({}, 'next+jwt');

function thrownBy(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('Nothing was thrown.');
}

describe('TestToken', () => {
  it('says what it is, and is sent as it is needed', () => {
    const held = new TestToken<{ plan: string }>(free, { cookieName: 'token', refreshToken });
    expect(held.claims).toMatchObject({ sub: 'alice', plan: 'free' });
    expect(held.accessToken).toBe(free);
    expect(held.refreshToken).toBe(refreshToken);
    expect(held.header).toEqual({ authorization: `Bearer ${free}` });
    expect(held.cookie()).toEqual({ cookie: `token=${free}` });
    expect(`Bearer ${held}`).toBe(`Bearer ${free}`);
  });

  it('is not seen when it is printed', () => {
    const held = new TestToken(free, { refreshToken });
    expect(inspect(held)).toBe("TestToken { sub: 'alice', sid: 's', jti: 'j' }");
    expect(JSON.stringify(held)).not.toContain(free.split('.')[2]);
    expect(Object.keys(held)).toEqual(['claims']);
    const compared = thrownBy(() => expect(held).toEqual({}));
    expect(compared).toContain('"plan": "free"');
    expect(compared).not.toContain(free.split('.')[2]);
  });

  it('refuses what is no token, and to be a cookie where there is none', () => {
    expect(() => new TestToken('nonsense')).toThrow(TokenInvalidError);
    expect(() => new TestToken(undefined as unknown as string)).toThrow(TokenInvalidError);
    expect(() => new TestToken(free).cookie()).toThrow('delivery.cookie');
  });
});

/** What goes wrong in an expectation, which must not give a token away. */
function failureOf(expectation: () => unknown): ExpectationError {
  try {
    expectation();
  } catch (error) {
    if (!(error instanceof ExpectationError)) throw error;
    const shown = `${error.stack} ${inspect(error)} ${JSON.stringify(error)}`;
    for (const text of [free, premium, refreshToken]) {
      for (const part of [text, text.split('.')[1] ?? '', text.split('.')[2] ?? '']) {
        expect(shown.includes(part)).toBe(false);
      }
    }
    return error;
  }
  throw new Error('The expectation was met.');
}

const RESPONSES: Record<string, TestResponse> = {
  'supertest, by header': { status: 200, headers: { authorization: `Bearer ${free}` }, body: {} },
  'supertest, by a header of another name': { status: 403, headers: { 'x-token': free } },
  'supertest, by cookie': {
    status: 200,
    headers: { 'set-cookie': ['theme=dark; Path=/', `__Host-token=${free}; Path=/; HttpOnly`] },
  },
  'supertest, in the body': { status: 200, headers: {}, body: { changed: 'plan', token: free } },
  'inject(), by header': { statusCode: 200, headers: { authorization: `Bearer ${free}` } },
  'inject(), by one cookie': { statusCode: 200, headers: { 'set-cookie': `token=${free}` } },
  'inject(), in the body': {
    statusCode: 200,
    headers: { 'content-length': 2 },
    body: JSON.stringify({ token: free }),
  },
  'fetch, by header': new Response('{}', { headers: { Authorization: `Bearer ${free}` } }),
  'fetch, by cookie': new Response(null, {
    headers: [
      ['Set-Cookie', 'theme=dark'],
      ['Set-Cookie', `token=${free}`],
    ],
  }),
  'fetch, in a body that was read': {
    status: 200,
    headers: new Headers(),
    body: { token: free },
  },
  'the same token in header and body': {
    status: 200,
    headers: { authorization: `Bearer ${free}` },
    body: { token: free },
  },
  'a refresh': {
    status: 200,
    headers: { 'set-cookie': [`__Secure-refresh-token=${refreshToken}`] },
    body: { access_token: free, token_type: 'Bearer', expires_in: 900 },
  },
};

describe.each(Object.entries(RESPONSES))('A response that brings a token: %s', (_, response) => {
  it('is found to do so', () => {
    expect(expectReissued(response, { plan: 'free' }).accessToken).toBe(free);
    expect(reissuedToken(response)?.claims).toMatchObject({ sub: 'alice' });
  });

  it('fails where it should bring none, or another one', () => {
    expect(failureOf(() => expectNotReissued(response)).message).toMatch(
      /expected to bring no new token, and brings one: sub alice, sid s, jti j\.$/,
    );
    expect(failureOf(() => expectReissued(response, { plan: 'premium' })).message).toBe(
      "The new token has other claims than expected: plan is 'free', expected 'premium'.",
    );
  });
});

const WITHOUT: Record<string, TestResponse> = {
  'none at all': { status: 200, headers: {}, body: { plan: 'free' } },
  'other credentials': { status: 200, headers: { authorization: 'Basic YTpi', 'x-id': '1.2.3' } },
  'a cookie that is deleted': { status: 200, headers: { 'set-cookie': ['token=; Max-Age=0'] } },
  'a refresh token only': { status: 200, headers: {}, body: { refresh_token: refreshToken } },
  'a record of the deny list': { status: 200, headers: {}, body: { record } },
  'a text': { status: 200, headers: {}, body: 'Hello' },
  'a list': { status: 200, headers: {}, body: [free] },
  nothing: { statusCode: 204, headers: {}, body: '' },
  'nothing, by fetch': new Response(null, { status: 204 }),
};

describe.each(Object.entries(WITHOUT))('A response without a new token: %s', (_, response) => {
  it('is found to have none', () => {
    expect(reissuedToken(response)).toBeUndefined();
    expectNotReissued(response);
    expect(failureOf(() => expectReissued(response)).message).toMatch(
      /^The response \(\d{3}\) was expected to bring a new token, and brings none\.$/,
    );
  });
});

describe('expectReissued', () => {
  it('gives the token with what it came with', () => {
    expect(expectReissued(RESPONSES['a refresh'] as TestResponse).refreshToken).toBe(refreshToken);
    const byCookie = expectReissued(RESPONSES['supertest, by cookie'] as TestResponse);
    expect(byCookie.cookie()).toEqual({ cookie: `__Host-token=${free}` });
  });

  it('names the code of an answer that was refused', () => {
    const refused = { status: 401, headers: {}, body: { code: 'TOKEN_REVOKED' } };
    expect(failureOf(() => expectReissued(refused)).message).toMatch(/\(401 TOKEN_REVOKED\)/);
    const odd = { status: 400, headers: {}, body: { code: refreshToken } };
    expect(failureOf(() => expectReissued(odd)).message).toMatch(/\(400\)/);
  });

  it('says that it cannot look into the body of a fetch', () => {
    const unread = new Response(JSON.stringify({ token: free }));
    expect(failureOf(() => expectReissued(unread)).message).toMatch(/status, headers, body/);
  });

  it('does not choose between two tokens', () => {
    const two = { status: 200, headers: { authorization: `Bearer ${free}` }, body: { premium } };
    for (const expectation of [expectReissued, expectNotReissued, reissuedToken]) {
      expect(failureOf(() => expectation(two)).message).toMatch(/two different tokens/);
    }
  });

  it.each<[string, Record<string, unknown>]>([
    ['some of them', { plan: 'free', sub: 'alice' }],
    ['a list', { roles: ['member'] }],
    ['a part of an object', { limits: { seats: 3 } }],
    ['what is absent', { tenant: undefined }],
    ['a matcher', { plan: expect.any(String), limits: { gb: expect.any(Number) } }],
    ['another matcher', { roles: expect.arrayContaining(['member']) }],
    ['none', {}],
  ])('compares claims: %s', (_, claims) => {
    expectReissued({ headers: { authorization: `Bearer ${free}` } }, claims);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['another value', { plan: 'premium' }, "plan is 'free', expected 'premium'"],
    ['one that is missing', { tenant: 'acme' }, "tenant is undefined, expected 'acme'"],
    ['one too many', { plan: undefined }, "plan is 'free', expected undefined"],
    ['a shorter list', { roles: [] }, "roles is [ 'member' ], expected []"],
    ['another part', { limits: { gb: 1 } }, 'limits is { seats: 3, gb: 10 }, expected { gb: 1 }'],
    ['another kind', { roles: 'member' }, "roles is [ 'member' ], expected 'member'"],
    ['an object for a value', { plan: {} }, "plan is 'free', expected {}"],
    ['two at once', { plan: 1, roles: 2 }, "plan is 'free', expected 1; roles is [ 'member' ]"],
  ])('tells which claim is not as it should be: %s', (_, claims, message) => {
    const response = { headers: { authorization: `Bearer ${free}` } };
    const failure = failureOf(() => expectReissued(response, claims));
    expect(failure.message).toContain(message);
    expect(failure).toMatchObject({ name: 'ExpectationError', expected: claims });
    expect(failure.stack).not.toMatch(/expect-reissued|compare-claims/);
  });
});

describe('nestjs-jwt-state/testing', () => {
  const lib = new URL('../../lib/', import.meta.url);
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({
      isKit: name.startsWith('testing/'),
      imports: [...readFileSync(new URL(name, lib), 'utf8').matchAll(/from '([^']+)'/g)].map(
        ([, from]) => from as string,
      ),
    }));
  const importsOf = (isKit: boolean) =>
    files.filter((file) => file.isKit === isKit).flatMap(({ imports }) => imports);

  it('is imported by nothing else', () => {
    expect(importsOf(false).filter((from) => from.includes('testing'))).toEqual([]);
  });

  it('needs no test framework', () => {
    const others = importsOf(true).filter((from) => !from.startsWith('.') && !/^node:/.test(from));
    expect([...new Set(others)].sort()).toEqual([
      '@nestjs/common',
      '@nestjs/core',
      'cache-manager',
      'keyv',
      'uuid',
    ]);
  });

  it('is shown in the docs by a test that runs', () => {
    const read = (path: string) => readFileSync(new URL(path, lib), 'utf8');
    const [, shown = ''] = /```ts\n([^`]*)```/.exec(read('../docs/19-testing.md')) ?? [];
    const run = read('../test/unit/sample-subscription.spec.ts');
    expect(shown).toBe(run.replace('../../sample/01-subscription/', '../src/'));
  });
});
