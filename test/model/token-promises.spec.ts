import { describe, expect, it } from '@jest/globals';
import { type Exploration, exploreAll, exploreOne, exploreSome } from './explore.js';
import type { Actor, World } from './world.js';

/*
 * Three promises: no request acts on claims older than a finished change; no revoked session comes
 * back; nobody is logged out by a race. Checked over orders of events, with the real rules.
 */

const client = (world: World) => world.held[0] as NonNullable<(typeof world.held)[0]>;

const request = (name: string, process: 0 | 1): Actor => ({
  name,
  process,
  run: (world) => world.request(process, client(world)),
});
const handler = (name: string, process: 0 | 1): Actor => ({
  name,
  process,
  run: (world) => world.change(process, client(world)),
});
const admin = (name: string, process: 0 | 1): Actor => ({
  name,
  process,
  run: (world) => world.markStale(process),
});
const revoke = (process: 0 | 1, how: 'session' | 'subject'): Actor => ({
  name: 'revoke',
  process,
  run: (world) => world.revoke(process, how, client(world)),
});

/** Small enough to try every order. */
const SCENES: Record<string, Actor[]> = {
  'two requests and a change elsewhere, one process': [
    request('a', 0),
    request('b', 0),
    admin('admin', 0),
  ],
  'two requests and a change elsewhere, two processes': [
    request('a', 0),
    request('b', 1),
    admin('admin', 1),
  ],
  'a request and a handler, one process': [request('a', 0), handler('h', 0)],
  'a request and a handler, two processes': [request('a', 1), handler('h', 0)],
  'a handler and a change elsewhere': [handler('h', 0), admin('admin', 1)],
  'a handler and a log-out everywhere': [handler('h', 0), revoke(1, 'subject')],
  'a handler and a log-out': [handler('h', 0), revoke(1, 'session')],
  'a request, a change elsewhere and a log-out everywhere': [
    request('a', 0),
    admin('admin', 1),
    revoke(1, 'subject'),
  ],
};

const EVERYBODY = [
  request('a', 0),
  request('b', 1),
  handler('h', 0),
  admin('admin', 1),
  revoke(1, 'subject'),
];
const TWO_HANDLERS = [
  request('a', 0),
  request('b', 1),
  handler('h', 0),
  handler('i', 1),
  admin('admin', 1),
];

function expectKept({ failures }: Exploration): void {
  expect(failures.slice(0, 3)).toEqual([]);
}

function expectEndings({ endings }: Exploration, ...expected: string[]): void {
  expect([...endings.keys()].sort()).toEqual(expected.sort());
}

/** Memory and one Redis write both records of a succession at once, other stores one after the other. */
describe.each([
  ['both records at once', true],
  ['one record after the other', false],
])('on a store that writes %s,', (_, writesPairs) => {
  // Orders differ little from one store to the other: what most applications have is tried most.
  const runs = (count: number) => (writesPairs ? count : count / 4);

  describe('in every order of events the promises are kept for', () => {
    // Up to 4,000 orders: some ten seconds, and more where others work on the same machine.
    it.each(Object.entries(SCENES))(
      '%s',
      async (_, cast) => {
        expectKept(await exploreAll({ cast, writesPairs }, 20_000));
      },
      120_000,
    );

    it('all of them, and nothing but a revocation refuses anybody', async () => {
      const cast = SCENES['a request, a change elsewhere and a log-out everywhere'] as Actor[];
      const exploration = await exploreAll({ cast, writesPairs }, 20_000);
      expectEndings(exploration, 'a: ok', 'a: TOKEN_REVOKED', 'admin: ok', 'revoke: ok');
    });
  });

  describe('in many orders of events the promises are kept for', () => {
    it('two requests, a handler, a change elsewhere and a log-out everywhere', async () => {
      expectKept(await exploreSome({ cast: EVERYBODY, writesPairs }, runs(2_000)));
    });

    it('two requests, two handlers and a change elsewhere, and everybody succeeds', async () => {
      const exploration = await exploreSome({ cast: TWO_HANDLERS, writesPairs }, runs(1_500));
      expectKept(exploration);
      expectEndings(exploration, 'a: ok', 'b: ok', 'h: ok', 'i: ok', 'admin: ok');
    });

    it('requests that share a reissue, and two changes elsewhere', async () => {
      const cast = [request('a', 0), request('b', 0), admin('one', 1), admin('two', 1)];
      expectKept(await exploreSome({ cast, writesPairs }, runs(1_000)));
    });

    it('a request that joins a reissue which asked before a change that had ended', async () => {
      const cast = [request('a', 0), request('b', 0), admin('one', 1), admin('two', 1)];
      const one = ['1 start one', '1 commit', '1 exchange stale'];
      const a = ['0 start a', '0 read', '0 source'];
      const two = ['1 start two', '1 commit', '1 exchange stale', '1 exchange stale'];
      const b = ['0 start b', '0 read', writesPairs ? '0 add both' : '0 add next'];
      expectKept(await exploreOne({ cast, writesPairs }, [...one, ...a, ...two, ...b]));
    });
  });

  describe('with a store that fails, and writes that land late, the promises are kept for', () => {
    it('two requests, a handler, a change elsewhere and a log-out everywhere', async () => {
      expectKept(
        await exploreSome({ cast: EVERYBODY, writesPairs }, runs(2_000), { storeFails: 0.15 }),
      );
    });

    it('two requests, two handlers and a change elsewhere', async () => {
      expectKept(
        await exploreSome({ cast: TWO_HANDLERS, writesPairs }, runs(2_000), { storeFails: 0.15 }),
      );
    });
  });

  describe('with a process that dies at any step the promises are kept for', () => {
    it('two requests, two handlers and a change elsewhere', async () => {
      expectKept(
        await exploreSome({ cast: TWO_HANDLERS, writesPairs }, runs(2_000), { processDies: 0.05 }),
      );
    });

    it('a handler that another one outlives', async () => {
      const cast = [handler('h', 0), handler('i', 1), request('b', 1), request('c', 1)];
      expectKept(await exploreSome({ cast, writesPairs }, runs(3_000), { processDies: 0.1 }));
    });
  });
});
