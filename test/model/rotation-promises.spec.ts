import { describe, expect, it } from '@jest/globals';
import { exploreOrders, exploreSomeOrders, type Findings } from './explore-orders.js';
import { type Actor, RotationWorld } from './rotation-world.js';

/*
 * A refresh token has one successor; nothing works that begins after a revocation has ended; nobody is
 * logged out by a race or by a store that fails; reuse ends the session; and what was answered as done
 * is known to the next refresh. Checked over orders of events, with the real rules.
 */

/** Exchanges the first refresh token of the session; its name begins with `refresh`. */
const refresh = (name: string, process: 0 | 1): Actor => ({
  name: `refresh ${name}`,
  process,
  run: (world) => world.refresh(process, world.first),
});
/** The first one, and then what it has brought. */
const refreshTwice = (name: string, process: 0 | 1): Actor => ({
  name: `refresh ${name}`,
  process,
  run: async (world) => world.refresh(process, await world.refresh(process, world.first)),
});
const refreshNewest = (name: string, process: 0 | 1): Actor => ({
  name: `refresh ${name}`,
  process,
  run: (world) => world.refresh(process, world.newest),
});
/** The access token of the log-in is replaced, by what the source says. */
const reissue = (name: string, process: 0 | 1): Actor => ({
  name: `reissue ${name}`,
  process,
  run: (world) => world.reissue(process),
});
const revoke = (how: 'session' | 'subject'): Actor => ({
  name: 'revoke',
  process: 1,
  run: (world) => world.revoke(1, how),
});
const change: Actor = { name: 'change', process: 1, run: (world) => world.change(1) };
const switchTenant: Actor = { name: 'switch', process: 1, run: (world) => world.switchTenant(1) };
const switchAndRevoke: Actor = {
  name: 'switch and revoke',
  process: 1,
  run: async (world) => {
    await world.switchTenant(1);
    await world.revoke(1, 'tenant');
  },
};
const assignAndRevoke: Actor = {
  name: 'assign and revoke',
  process: 1,
  run: async (world) => {
    await world.assignTenant(1);
    await world.revoke(1, 'tenant');
  },
};
const leave: Actor = { name: 'leave', process: 1, run: (world) => world.assignTenant(1) };
const shut: Actor = { name: 'shut', process: 1, run: (world) => world.shutFirstTenant(1) };
/** Somewhere among the many steps of others, and not always before them. */
const shutLater: Actor = {
  name: 'shut',
  process: 1,
  run: async (world) => {
    for (let step = 0; step < 6; step++) await world.idle(1);
    await world.shutFirstTenant(1);
  },
};
const switchAndShut: Actor = {
  name: 'switch and shut',
  process: 1,
  run: async (world) => {
    await world.switchTenant(1);
    await world.shutFirstTenant(1);
  },
};
const leaveAndShut: Actor = {
  name: 'leave and shut',
  process: 1,
  run: async (world) => {
    await world.assignTenant(1);
    await world.shutFirstTenant(1);
  },
};
const graceEnds: Actor = { name: 'time', process: 1, run: (world) => world.graceEnded(1) };

interface Scene {
  readonly actors: readonly Actor[];
  /** How often the session was refreshed before. */
  readonly uses?: number;
  /** All of them must occur, and nothing else: a scene in which nothing happens proves nothing. */
  readonly endings: readonly string[];
}

const BOTH = ['refresh a: ok', 'refresh b: ok'];
const UNLESS_REVOKED = ['refresh a: ok', 'refresh a: INVALID_GRANT'];

const SCENES = {
  'two refreshes of one token': { actors: [refresh('a', 0), refresh('b', 1)], endings: BOTH },
  'two refreshes of one token, and its grace period ends': {
    actors: [refresh('a', 0), refresh('b', 1), graceEnds],
    endings: [...BOTH, 'time: ok'],
  },
  'a repetition, and a refresh of the successor': {
    actors: [refresh('a', 0), refreshNewest('b', 1)],
    uses: 1,
    endings: BOTH,
  },
  'two refreshes in a row, and one of the first token': {
    actors: [refreshTwice('a', 0), refresh('b', 1)],
    endings: BOTH,
  },
  'a repetition, a refresh of the successor, and the grace period ends': {
    actors: [refresh('a', 0), refreshNewest('b', 1), graceEnds],
    uses: 1,
    endings: [...BOTH, 'refresh a: INVALID_GRANT', 'time: ok'],
  },
  'a refresh and a log-out': {
    actors: [refresh('a', 0), revoke('session')],
    endings: [...UNLESS_REVOKED, 'revoke: ok'],
  },
  'a refresh and a log-out everywhere': {
    actors: [refresh('a', 0), revoke('subject')],
    endings: [...UNLESS_REVOKED, 'revoke: ok'],
  },
  'two refreshes in a row and a log-out everywhere': {
    actors: [refreshTwice('a', 0), revoke('subject')],
    endings: [...UNLESS_REVOKED, 'revoke: ok'],
  },
  'a refresh and a change elsewhere': {
    actors: [refresh('a', 0), change],
    endings: ['refresh a: ok', 'change: ok'],
  },
  'a refresh and a switch to another tenant': {
    actors: [refresh('a', 0), switchTenant],
    endings: ['refresh a: ok', 'switch: ok'],
  },
  'two refreshes in a row and a switch': {
    actors: [refreshTwice('a', 0), switchTenant],
    endings: ['refresh a: ok', 'switch: ok'],
  },
  'a refresh, a switch, and the grace period ends': {
    actors: [refresh('a', 0), switchTenant, graceEnds],
    endings: ['refresh a: ok', 'switch: ok', 'time: ok'],
  },
  'a refresh, and a switch to a tenant that is shut then': {
    actors: [refresh('a', 0), switchAndRevoke],
    endings: [...UNLESS_REVOKED, 'switch and revoke: ok'],
  },
  'a repetition, and a tenant that the source has put the user into, and that is shut then': {
    actors: [refreshTwice('a', 0), assignAndRevoke],
    uses: 1,
    endings: [...UNLESS_REVOKED, 'assign and revoke: ok'],
  },
  'a refresh, and a tenant that the source takes the user out of, and that is shut then': {
    actors: [refresh('a', 0), leaveAndShut],
    endings: [...UNLESS_REVOKED, 'leave and shut: ok'],
  },
  'two refreshes, and a tenant that the source takes the user out of, and that is shut then': {
    actors: [refresh('a', 0), refresh('b', 1), leaveAndShut],
    endings: [
      ...BOTH,
      'refresh a: INVALID_GRANT',
      'refresh b: INVALID_GRANT',
      'leave and shut: ok',
    ],
  },
  'a refresh that is told to leave a tenant, and that is shut': {
    actors: [refresh('a', 0), leave, shut],
    endings: [...UNLESS_REVOKED, 'leave: ok', 'shut: ok'],
  },
  'a refresh, and a switch to another tenant while the first is shut': {
    actors: [refresh('a', 0), switchTenant, shutLater],
    endings: [...UNLESS_REVOKED, 'switch: ok', 'switch: TOKEN_REVOKED', 'shut: ok'],
  },
  'a refresh and a reissue that are told to leave a tenant, and that is shut': {
    actors: [refresh('a', 0), reissue('r', 1), leave, shutLater],
    endings: [
      ...UNLESS_REVOKED,
      'reissue r: ok',
      'reissue r: TOKEN_REVOKED',
      'leave: ok',
      'shut: ok',
    ],
  },
  'two reissues that are told to leave a tenant, and that is shut': {
    actors: [reissue('r', 0), reissue('s', 1), leave, shutLater],
    endings: [
      'reissue r: ok',
      'reissue r: TOKEN_REVOKED',
      'reissue s: ok',
      'reissue s: TOKEN_REVOKED',
      'leave: ok',
      'shut: ok',
    ],
  },
  'a refresh, and a switch to another tenant when the first is shut': {
    actors: [refresh('a', 0), switchAndShut],
    endings: ['refresh a: ok', 'switch and shut: ok'],
  },
} satisfies Record<string, Scene>;
type SceneName = keyof typeof SCENES;

const stageOf = (name: SceneName, writesPairs = false) => {
  const { actors, uses }: Scene = SCENES[name];
  return () => new RotationWorld(actors, uses, writesPairs);
};

function expectKept({ failures }: Findings): void {
  expect(failures.slice(0, 3)).toEqual([]);
}

function expectEndings({ endings }: Findings, name: SceneName): void {
  expect([...endings].sort()).toEqual([...SCENES[name].endings].sort());
}

/** Too large for every order to be tried. */
const LARGE: readonly SceneName[] = [
  'a refresh and a switch to another tenant',
  'two refreshes of one token, and its grace period ends',
  'a repetition, a refresh of the successor, and the grace period ends',
  'two refreshes in a row, and one of the first token',
  'two refreshes in a row and a switch',
  'a refresh, a switch, and the grace period ends',
  'a refresh, and a switch to a tenant that is shut then',
  'two refreshes, and a tenant that the source takes the user out of, and that is shut then',
  'a refresh that is told to leave a tenant, and that is shut',
  'a refresh, and a switch to another tenant while the first is shut',
  'a refresh and a reissue that are told to leave a tenant, and that is shut',
  'two reissues that are told to leave a tenant, and that is shut',
  'a refresh, and a switch to another tenant when the first is shut',
];
const NAMES = Object.keys(SCENES) as SceneName[];

/** Whether a store writes both records of a succession at once or one after the other. */
describe.each([
  ['both records at once', true],
  ['one record after the other', false],
])('on a store that writes %s the promises are kept', (_, writesPairs) => {
  it.each(NAMES.filter((name) => !LARGE.includes(name)))('in every order: %s', async (name) => {
    const findings = await exploreOrders(stageOf(name, writesPairs), { limit: 500 });
    expectKept(findings);
    expectEndings(findings, name);
  });

  it.each(LARGE)('in many orders: %s', async (name) => {
    const findings = await exploreSomeOrders(stageOf(name, writesPairs), 80);
    expectKept(findings);
    expectEndings(findings, name);
  });

  it.each(NAMES)('with one step that fails, or lands late: %s', async (name) => {
    expectKept(await exploreSomeOrders(stageOf(name, writesPairs), 45, 1));
  });

  it.each(['a refresh and a log-out', 'a refresh and a log-out everywhere'] as const)(
    'with any step that fails, or lands late, in every order: %s',
    async (name) => {
      expectKept(await exploreOrders(stageOf(name, writesPairs), { limit: 500, faults: 1 }));
    },
  );
});
