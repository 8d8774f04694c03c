import type { Clock } from '../clock.js';
import type { Scope } from '../deny-list/scopes.js';
import { ClaimsUnavailableError, TokenRevokedError } from '../jwt-state.errors.js';
import type { Look } from '../state/look.js';
import type { ScopeState } from '../state/scope-state.js';
import type { StaleMark } from '../state/stale-mark.js';
import type { StateReader } from '../state/state-reader.js';
import { isStaleBy, revocationsIn } from '../state/token-marks.js';
import { type ClaimsReader, signable } from '../token/claims-reader.js';
import { type TokenMint, toSeconds } from '../token/token-mint.js';
import {
  applicationClaims,
  type Claims,
  type Seen,
  type VerifiedToken,
  withClaims,
} from '../token/verified-token.js';
import type { SessionEnder } from './session-ender.js';
import type { SessionScopes } from './session-scopes.js';
import type { SessionStanding } from './standing.js';

/** How a new token differs from "the same with today's truth". */
export interface CompositionRequest {
  /** Laid over what the claims source says. */
  readonly changes?: Claims | undefined;
  /** A new `exp` instead of the predecessor's. */
  readonly renew: boolean;
}

/** What the next token of a session says; its generation and its `jti` are given where it is written. */
export interface Composition {
  readonly claims: VerifiedToken;
  /** The scopes that the session leaves: they must not have been revoked when it does. */
  readonly left: readonly Scope[];
  /** Everything that was read, the marks of new scopes included. */
  readonly look: Look;
}

/** The claims source may name a scope whose marks were not read; then it is asked once more. */
const ATTEMPTS = 2;

/**
 * Says what the next token of a session holds. Marks are read first and the claims after them, so that a
 * change in between is news to the token.
 */
export class Composer {
  constructor(
    private readonly reader: StateReader,
    private readonly scopes: SessionScopes,
    private readonly claims: ClaimsReader,
    private readonly mint: TokenMint,
    private readonly ender: SessionEnder,
    private readonly clock: Clock,
  ) {}

  get hasSource(): boolean {
    return this.claims.hasSource;
  }

  async compose(standing: SessionStanding, request: CompositionRequest): Promise<Composition> {
    const { token, place } = standing;
    let { look } = standing;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const claims = { ...(await this.readClaims(place)), ...request.changes };
      const next = withClaims(token.seen.origin === undefined ? token : this.ours(token), claims);
      const keys = this.scopes.keysOf(next);
      if (keys.every((key) => look.has(key))) {
        const seen = this.seenBy(standing, next, look);
        const times = this.timesOf(standing, request.renew);
        return {
          claims: { ...next, ...times, seen },
          left: this.scopes.missing(place, next),
          look,
        };
      }
      look = await this.reader.extend(look, keys);
    }
    throw new ClaimsUnavailableError('The claims changed their scope while they were read.');
  }

  /** @throws TokenRevokedError where the subject may hold no token any more: its session is ended */
  async readClaims(place: VerifiedToken): Promise<Claims> {
    // A token from before this module may carry names that no token of ours can.
    if (!this.claims.hasSource) return signable('token', applicationClaims(place));
    const claims = await this.claims.read(place.sub, place);
    if (claims !== null) return claims;
    // The refusal stands whether or not it can be written down.
    await this.ender.end(place.sid, 'subject-gone').catch(() => {});
    throw new TokenRevokedError('The subject of this token may hold no token any more.');
  }

  private seenBy(
    { token, place, look: first }: SessionStanding,
    next: VerifiedToken,
    look: Look,
  ): Seen {
    const session = look.session(token.sid).stale;
    const states = this.scopes.of(next).map((scope) => look.scope(scope));
    const everyone = look.store?.everyone ?? {};
    const marks = [session, ...[...states, everyone].map(({ stale }) => stale)];
    const stale = this.knownOf(
      marks.filter((mark) => mark !== undefined),
      token,
    );
    const until = this.provisionalUntil(marks, token);
    const revoked = this.revokedKnownTo(token, place, next, look);
    const { gen, login } = token.seen;
    return {
      v: 2,
      ...(gen !== undefined && { gen }),
      ...(login && { login }),
      epoch: first.store?.epoch ?? '',
      ...(stale.length > 0 && { stale }),
      ...(revoked.length > 0 && { revoked }),
      ...(until !== undefined && { until }),
    };
  }

  /**
   * Without a source the claims are the predecessor's, and so is what they know: a mark that is news to it
   * stays news to its copy, for a service that can read the truth.
   */
  private knownOf(marks: readonly StaleMark[], token: VerifiedToken): string[] {
    const known = this.hasSource ? marks : marks.filter((mark) => !isStaleBy(token, mark));
    return known.map(({ id }) => id);
  }

  private provisionalUntil(
    marks: readonly (StaleMark | undefined)[],
    token: VerifiedToken,
  ): number | undefined {
    if (!this.hasSource) return token.seen.until;
    const now = this.clock.now();
    const deadlines = marks.flatMap((mark) => [...(mark?.deadlines.values() ?? [])]);
    const ahead = deadlines.filter((until) => until > now);
    return ahead.length > 0 ? Math.min(...ahead) : undefined;
  }

  /**
   * Revocations belong to the session: those it knew stay known, and one that was set since is never
   * recorded. Where it enters a scope, what stands there now was there before it came.
   */
  private revokedKnownTo(
    token: VerifiedToken,
    place: VerifiedToken,
    next: VerifiedToken,
    look: Look,
  ): string[] {
    const isOurs = token.seen.origin === undefined;
    const entered = isOurs ? this.scopes.missing(next, place) : this.scopes.of(next);
    const states: ScopeState[] = entered.map((scope) => look.scope(scope));
    if (!isOurs && look.store) states.push(look.store.everyone);
    return [...new Set([...(place.seen.revoked ?? []), ...states.flatMap(revocationsIn)])];
  }

  /** From here on it is a token of this service, and for whom that makes tokens. */
  private ours({ iss, aud, ...token }: VerifiedToken): VerifiedToken {
    return { ...token, ...this.mint.parties };
  }

  private timesOf({ look, presented, token }: SessionStanding, renew: boolean) {
    // On a host whose clock is behind, `exp - iat` must not grow beyond what any token may live.
    const issuedAt = Math.max(look.readAt, token.iat * 1000);
    return { iat: toSeconds(issuedAt), exp: this.expiryOf(presented, token, issuedAt, renew) };
  }

  private expiryOf(
    presented: VerifiedToken,
    token: VerifiedToken,
    issuedAt: number,
    renew: boolean,
  ): number {
    if (renew) return this.mint.freshExpiry(issuedAt, token);
    if (token.seen.origin === undefined) return Math.max(token.exp, presented.exp);
    // A token from elsewhere may live longer than this service lets any of its own.
    return Math.min(token.exp, this.mint.freshExpiry(issuedAt, token));
  }
}
