import { v7 as uuidv7 } from 'uuid';
import type { Clock } from '../clock.js';
import { wholeSeconds } from '../config/checks.js';
import { seenBy } from '../deny-list/marks.js';
import { type Duration, toMilliseconds } from '../duration.js';
import { noEvents } from '../events/token-events.js';
import type { Assembly } from '../jwt-state.assembly.js';
import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { ASSEMBLY, CLOCK, CONFIG } from '../jwt-state.tokens.js';
import { ClaimsReader, checkedClaims } from '../token/claims-reader.js';
import { nextTokenId } from '../token/token-id.js';
import { toSeconds } from '../token/token-mint.js';
import type { Claims, ReservedClaims, Seen, VerifiedToken } from '../token/verified-token.js';
import { SessionStarter } from '../token-service/session-starter.js';
import { partOf, type TestedApplication } from './part-of.js';
import { TestToken } from './test-token.js';

/** Another token than the one that a log-in would bring now. */
export interface TokenForOptions {
  /** Signed that long ago: `iat`, `exp`, `auth_time` and the ids say so. Default: now. */
  readonly age?: Duration;
  /** Its lifetime, in whole seconds. Default: `accessToken.expiresIn`. */
  readonly expiresIn?: Duration;
  /** `true`: so old that its `exp` has just passed, `clockTolerance` included. */
  readonly expired?: boolean;
  /**
   * One more token of a session, as another tab has one: the claims of one of its tokens, or only its
   * `sid`. Default: a new session. It has no refresh token of its own.
   */
  readonly session?: Session;
}

type Session = Pick<ReservedClaims, 'sid'> &
  Partial<Pick<ReservedClaims, 'auth_time' | 'jti' | 'seen'>>;

/**
 * A token that the guard of this application accepts, without a log-in: signed with its keys, with the
 * marks of its deny list seen, and with a refresh token where sessions have one. No event tells of it.
 *
 * The deny list is read, so make it before a `TestDenyList` is told to fail.
 *
 * @param claims taken as they are; if they are left out, the claims source is asked
 * @example
 * ```ts
 * const token = await tokenFor(app, 'alice', { plan: 'free' });
 * await request(app.getHttpServer()).get('/me').set(token.header).expect(200);
 *
 * const old = await tokenFor(app, 'alice', { plan: 'free' }, { expired: true });
 * await request(app.getHttpServer()).get('/me').set(old.header).expect(401);
 * ```
 * @throws JwtStateConfigError where the application only verifies, or has no `JwtStateModule`
 * @throws SubjectRefusedError when the claims source gives this subject no token
 * @throws ClaimsInvalidError, DenyListUnavailableError
 * @publicApi
 */
export async function tokenFor<C extends Claims = Claims>(
  app: TestedApplication,
  subject: string | number,
  claims?: C,
  options: TokenForOptions = {},
): Promise<TestToken<C>> {
  const { denyList, mint } = partOf<Assembly>(app, ASSEMBLY);
  const config = partOf<JwtStateConfig>(app, CONFIG);
  const clock = partOf<Clock>(app, CLOCK);
  if (!mint.canSign) {
    throw new JwtStateConfigError(
      'tokenFor(): this application only verifies, it has no key to sign with. Make the token with one ' +
        'that has: a TestingModule with JwtStateModule and the private key, on the same deny list.',
    );
  }
  const given = claims && checkedClaims('claims given to tokenFor()', claims);
  const source = new ClaimsReader(given ? undefined : config.claims, config.claimsTimeout);
  const starter = new SessionStarter(denyList, source, mint, noEvents, clock);
  const { session } = options;
  const known = session && (await knownTo(session, denyList));
  const logIn = await starter.start(await starter.begin(subject, given), given);

  const lifetime = lifetimeOf(options, config);
  const then = clock.now() - ageOf(options, lifetime, config);
  const iat = toSeconds(then);
  const authTime = session?.auth_time ?? iat;
  const token: VerifiedToken = {
    ...logIn.claims,
    iat,
    exp:
      options.expiresIn === undefined
        ? mint.freshExpiry(then, { auth_time: authTime, seen: logIn.claims.seen })
        : iat + lifetime / 1000,
    auth_time: authTime,
    sid: session?.sid ?? uuidv7({ msecs: then }),
    jti: nextTokenId(then, session?.jti),
    seen: known ? merged(logIn.claims.seen, known) : logIn.claims.seen,
  };
  const refresh = session ? undefined : mint.refreshTokenFor(token);
  const { accessToken, refreshToken } = mint.sign(token, refresh);
  const { usesCookie, cookie } = config.delivery;
  return new TestToken<C>(accessToken, {
    cookieName: usesCookie ? cookie.name : undefined,
    refreshToken,
  });
}

/** In milliseconds. */
function lifetimeOf({ expiresIn }: TokenForOptions, config: JwtStateConfig): number {
  if (expiresIn === undefined) return config.accessTokenLifetime;
  const lifetime = wholeSeconds('tokenFor: expiresIn', expiresIn);
  if (lifetime <= config.denyList.longestLifetime) return lifetime;
  throw new JwtStateConfigError(
    'tokenFor: expiresIn is longer than any token may live here (denyList.longestLifetime).',
  );
}

/** In milliseconds. */
function ageOf({ age, expired }: TokenForOptions, lifetime: number, config: JwtStateConfig) {
  if (!expired) return age === undefined ? 0 : toMilliseconds('tokenFor: age', age, 0);
  if (age === undefined) return lifetime + config.clockTolerance + 1_000;
  throw new JwtStateConfigError('tokenFor: give either an age or expired, not both.');
}

/** The marks of the session itself, and those that it was started after: later ones go on affecting it. */
async function knownTo({ sid, seen }: Session, denyList: Assembly['denyList']): Promise<Seen> {
  const snapshot = await denyList.readMarks([{ name: 'sid', value: sid }]);
  const known = seenBy(snapshot, snapshot.scopes);
  // Of one more token of a session: the terms of its log-in as well.
  return seen
    ? { ...known, ...(seen.login && { login: seen.login }), revoked: seen.revoked ?? [] }
    : known;
}

function merged(subject: Seen, session: Seen): Seen {
  const stale = [...(subject.stale ?? []), ...(session.stale ?? [])];
  const until = Math.min(subject.until ?? Infinity, session.until ?? Infinity);
  return {
    ...subject,
    ...session,
    ...(stale.length > 0 && { stale }),
    ...(until < Infinity && { until }),
  };
}
