import type {
  JwtStateEventName,
  JwtStateEvents,
  ReissueReason,
  RevokeReason,
  TokenEvents,
} from 'nestjs-jwt-state';

type Presence<E> = { [M in keyof E]-?: undefined extends E[M] ? 'sometimes' : 'always' };

/** Every event with its members. What the types gain or lose, this does not compile without. */
export const EVENTS = {
  issued: { at: 'always', sub: 'always', sid: 'always', jti: 'always', refreshJti: 'sometimes' },
  reissued: {
    at: 'always',
    sub: 'always',
    sid: 'always',
    jti: 'always',
    predecessor: 'always',
    why: 'always',
    refreshJti: 'sometimes',
  },
  'superseded-use': {
    at: 'always',
    sub: 'always',
    sid: 'always',
    jti: 'always',
    inGrace: 'always',
  },
  'refresh-reuse': { at: 'always', sub: 'always', sid: 'always', jti: 'always' },
  revoked: { at: 'always', scope: 'always', why: 'always', except: 'sometimes' },
  'marked-stale': { at: 'always', scope: 'always', pending: 'always' },
  'store-failed': { at: 'always', reason: 'always' },
  'store-recovered': { at: 'always' },
  'store-lost': { at: 'always', sub: 'always', sid: 'always', jti: 'always', policy: 'always' },
} as const satisfies { [N in JwtStateEventName]: Presence<JwtStateEvents[N]> };

export const EVENT_NAMES = Object.keys(EVENTS) as JwtStateEventName[];

/** The same for the reasons. */
export const REASONS = {
  reissued: Object.keys({
    stale: true,
    handler: true,
    request: true,
    refresh: true,
    'refresh-token': true,
    legacy: true,
    loss: true,
  } satisfies Record<ReissueReason, true>),
  revoked: Object.keys({
    request: true,
    'subject-gone': true,
    'refresh-reuse': true,
    'left-scope': true,
  } satisfies Record<RevokeReason, true>),
};

/** An event by its name. */
export type Told = { [N in JwtStateEventName]: readonly [N, JwtStateEvents[N]] }[JwtStateEventName];

/** Everything that is told from now on, in its order; with `told` several services share one list. */
export function listenTo(events: TokenEvents, told: Told[] = []): Told[] {
  for (const name of EVENT_NAMES) events.on(name, (event) => void told.push([name, event] as Told));
  return told;
}
