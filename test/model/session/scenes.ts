import type { Act } from './actors.js';
import type { Budget } from './world.js';

export interface Scene {
  /** Each actor does one thing after the other. */
  readonly actors: readonly (readonly Act[])[];
  /** So many log-ins of one subject come first. Default: 1. */
  readonly sessions?: number;
  readonly budget?: Partial<Budget>;
  /** How much time may pass at once, in seconds. */
  readonly jumps?: readonly number[];
  readonly first?: readonly Act[];
  readonly twoHolders?: boolean;
  /** How long an access token lives, in seconds. Default: 900. */
  readonly access?: number;
  readonly ignoresNews?: boolean;
  readonly skipsRefreshProbe?: boolean;
  /** Clocks at the most that is allowed. */
  readonly isWidest?: boolean;
}

const on1 = { process: 1 } as const;
const request: Act = { kind: 'request' };
const request1: Act = { kind: 'request', ...on1 };
const refresh: Act = { kind: 'refresh' };
const refresh1: Act = { kind: 'refresh', ...on1 };
const visit: Act = { kind: 'visit' };
const visit1: Act = { kind: 'visit', ...on1 };
const handler: Act = { kind: 'handler' };
const handler1: Act = { kind: 'handler', ...on1 };
const admin: Act = { kind: 'admin' };
const admin1: Act = { kind: 'admin', ...on1 };
const choose = (pref: string, process = 0, tenant?: string): Act => ({
  kind: 'handler',
  scope: 'session',
  pref,
  process,
  ...(tenant !== undefined && { tenant }),
});
const shut = (tenant: string, process = 0): Act => ({
  kind: 'revoke',
  what: 'tenant',
  tenant,
  process,
});
const move: Act = { kind: 'admin', move: 'globex' };

/** Large ones, for schedules drawn by chance. */
export const SCENES: Readonly<Record<string, Scene>> = {
  'requests, handler, change elsewhere': {
    actors: [[request, request, request], [request1, request1], [handler], [admin1]],
  },
  'two handlers, requests': {
    actors: [[handler], [handler1], [request1, request, request], [admin1]],
  },
  'failing and slow handlers': {
    actors: [[{ ...handler, fails: true }], [handler1], [request, request1, request]],
    budget: { jumps: 3 },
  },
  'explicit choices': {
    actors: [[choose('p1')], [choose('p2', 1)], [request, request, refresh], [refresh1, request1]],
  },
  'choices and changes': {
    actors: [[choose('p1')], [handler1], [request, request, request], [admin]],
  },
  'revoked session': {
    actors: [[request, request], [handler1], [admin], [{ kind: 'revoke', ...on1 }], [refresh]],
  },
  'log out everywhere and log-ins': {
    sessions: 2,
    actors: [
      [{ kind: 'revoke', what: 'subject' }],
      [{ kind: 'login', ...on1 }],
      [request, request],
      [{ ...refresh1, session: 1 }],
      [admin1],
    ],
  },
  'others out': {
    sessions: 2,
    actors: [
      [{ kind: 'revoke', what: 'others' }],
      [
        { ...request, session: 1 },
        { ...request, session: 1 },
      ],
      [request1, request],
      [handler1],
      [{ ...refresh, session: 1 }],
    ],
  },
  'others out twice, and everywhere': {
    sessions: 2,
    actors: [
      [{ kind: 'revoke', what: 'others' }],
      [{ kind: 'revoke', what: 'session', ...on1 }],
      [{ ...request, session: 1 }],
      [request],
    ],
  },
  'two devices log each other out': {
    sessions: 2,
    actors: [
      [{ kind: 'revoke', what: 'others' }],
      [{ kind: 'revoke', what: 'others', session: 1, ...on1 }],
      [{ ...request, session: 1 }],
      [request1],
    ],
  },
  'tenant moves by source': {
    actors: [[move], [request, request], [shut('acme', 1)], [refresh1, refresh1]],
  },
  'tenant switch by choice': {
    actors: [
      [choose('p1', 0, 'globex')],
      [request, request],
      [shut('acme', 1)],
      [refresh1],
      [shut('globex')],
    ],
  },
  'two tabs and tenants': {
    actors: [
      [choose('p1', 0, 'globex')],
      [choose('p2', 1, 'initech')],
      [refresh, request],
      [shut('globex', 1)],
      [request],
    ],
  },
  'parallel refreshes': {
    actors: [[refresh, refresh, refresh], [refresh1, refresh1], [refresh], [request1]],
    budget: { drops: 2, jumps: 3 },
  },
  'refresh and reissues': {
    actors: [[refresh, request, request], [admin1], [request1, request], [handler]],
    budget: { drops: 2, jumps: 3 },
  },
  thief: {
    actors: [[refresh, refresh, refresh], [{ kind: 'thief', uses: 2 }], [request1]],
    budget: { jumps: 4 },
  },
  'lost writes': {
    actors: [
      [request, request, request],
      [admin1, admin],
      [refresh1, refresh],
    ],
    budget: { losses: 1 },
  },
  'session marks': {
    actors: [
      [choose('p1')],
      [{ ...admin1, ofSession: true }],
      [refresh1, request],
      [request, request1],
    ],
  },
  'long silence': {
    actors: [[admin], [request, request, request], [request1]],
    budget: { jumps: 5, drops: 2, faults: 3 },
    jumps: [31, 66, 130, 200],
  },
  'many generations': {
    actors: [
      [admin, request, admin, request, admin, request],
      [request1, request1, request1],
      [handler1],
    ],
    budget: { jumps: 4 },
    jumps: [5, 16, 31],
  },
  'an old copy of the token': {
    twoHolders: true,
    actors: [
      [admin, request, request, admin, request, request],
      [
        { ...request, old: 1 },
        { ...request1, old: 1 },
        { ...request, old: 2 },
        { ...request, old: 1 },
      ],
    ],
    budget: { jumps: 5, faults: 1 },
    jumps: [16, 31, 36],
  },
  'a client that takes nothing up': {
    ignoresNews: true,
    actors: [
      [admin, request, request, handler, request],
      [request1, request1, admin1, request],
    ],
    budget: { jumps: 4 },
    skipsRefreshProbe: true,
  },
  'a subject that is gone': {
    actors: [[request, request], [{ kind: 'gone', ...on1 }], [refresh, request], [handler]],
  },
  'five seconds either way': {
    isWidest: true,
    actors: [[refresh, request, request], [handler1, request1], [admin], [request1]],
    budget: { drops: 2, jumps: 3 },
    jumps: [1, 20, 31, 75],
  },
  'ten parallel refreshes': {
    actors: [
      [refresh, refresh],
      [refresh1, refresh1],
      [refresh, refresh],
      [refresh1, refresh1],
      [refresh, refresh],
    ],
    budget: { drops: 1, jumps: 1, faults: 1 },
  },
  'visits and refreshes': {
    actors: [
      [visit, visit, visit, visit],
      [admin1, admin],
      [refresh1, visit1, visit1],
      [choose('p1', 1)],
    ],
    budget: { jumps: 5, drops: 2 },
    jumps: [31, 66, 130],
  },
  'two tabs, a token each, one refresh cookie': {
    actors: [
      [
        { ...refresh, tab: true },
        { ...visit, tab: true },
        { ...visit, tab: true },
        { ...visit, tab: true },
      ],
      [admin1, admin],
      [visit, visit1, visit],
      [handler1],
    ],
    budget: { jumps: 4, drops: 2 },
  },
  'two tabs refresh at once': {
    actors: [
      [
        { ...refresh, tab: true },
        { ...visit, tab: true },
        { ...visit, tab: true },
      ],
      [refresh1, visit1, visit],
      [admin1, admin],
    ],
    budget: { jumps: 4, drops: 2 },
  },
  'requests that share a reissue': {
    actors: [[admin1, admin1], [request], [request, request], [request]],
    budget: { jumps: 1, faults: 1, crashes: 0 },
  },
  'short-lived tokens, and long silences': {
    access: 60,
    actors: [
      [visit, visit, visit],
      [
        { ...refresh1, tab: true },
        { ...visit1, tab: true },
        { ...visit1, tab: true },
      ],
      [admin, choose('p1'), admin1],
    ],
    budget: { jumps: 5 },
    jumps: [31, 66, 97],
  },
  'changes elsewhere at once, in one process': {
    actors: [[admin], [admin], [admin], [request1, request1]],
    budget: { faults: 1, crashes: 0 },
  },
  'a choice, and a change that comes in between': {
    actors: [
      [choose('p1')],
      [
        { ...admin1, ofSession: true },
        { ...admin1, ofSession: true },
      ],
      [request1],
    ],
    budget: { faults: 0, jumps: 0 },
  },
};

const NONE: Budget = { faults: 0, jumps: 0, crashes: 0, drops: 0, losses: 0 };

/** Small enough for every order of their steps, with each fault that the budget allows. */
export const SMALL: Readonly<Record<string, Scene>> = {
  'request, request, change': {
    actors: [[request], [request1], [admin1]],
    budget: NONE,
    skipsRefreshProbe: true,
  },
  'request, change, one fault': {
    actors: [[request], [admin1]],
    budget: { ...NONE, faults: 1, jumps: 1, drops: 1 },
    jumps: [31],
  },
  'request, change, a death': {
    actors: [[request], [admin1]],
    budget: { ...NONE, jumps: 1, crashes: 1 },
    jumps: [31, 130],
  },
  'request, handler': { actors: [[request1], [handler]], budget: { ...NONE, drops: 1 } },
  'handler, one fault and a silence': {
    actors: [[handler]],
    budget: { ...NONE, faults: 1, jumps: 1, drops: 1 },
    jumps: [31, 66],
  },
  'handler, a death': {
    actors: [[handler]],
    budget: { ...NONE, faults: 1, jumps: 1, crashes: 1 },
    jumps: [66],
  },
  'request, change, log-out': {
    actors: [[request], [admin1], [{ kind: 'revoke', ...on1 }]],
    budget: NONE,
  },
  'move, request, tenant shut': {
    first: [move],
    actors: [[request], [shut('acme', 1)]],
    budget: { ...NONE, faults: 1, crashes: 1 },
  },
  'move, refresh, tenant shut': {
    first: [move],
    actors: [[refresh], [shut('acme', 1)]],
    budget: { ...NONE, faults: 1, crashes: 1 },
  },
  'switch, refresh': { actors: [[choose('p1')], [refresh1]], budget: NONE },
  'refresh, refresh, faults': {
    actors: [[refresh], [refresh1]],
    budget: { ...NONE, faults: 1, jumps: 1, drops: 1 },
    jumps: [31],
  },
  'log-in, log out everywhere': {
    actors: [[{ kind: 'login' }], [{ kind: 'revoke', what: 'subject', ...on1 }]],
    budget: { ...NONE, faults: 1 },
  },
};
