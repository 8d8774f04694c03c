import { v7 as uuidv7 } from 'uuid';
import type { Clock } from '../clock.js';
import type { Scope } from '../deny-list/scopes.js';
import type { EventSink } from '../events/token-events.js';
import {
  ClaimsInvalidError,
  ClaimsUnavailableError,
  SubjectRefusedError,
} from '../jwt-state.errors.js';
import type { Look } from '../state/look.js';
import type { StateKeys } from '../state/state-keys.js';
import type { StateReader } from '../state/state-reader.js';
import { revocationsIn } from '../state/token-marks.js';
import type { ClaimsReader } from '../token/claims-reader.js';
import type { IssuedToken } from '../token/issued-token.js';
import { tokenIdAt } from '../token/token-id.js';
import { type TokenMint, toSeconds } from '../token/token-mint.js';
import type { Claims, Seen, VerifiedToken } from '../token/verified-token.js';
import { type LogInOptions, termsOf } from '../token-service/log-in-options.js';
import type { SessionScopes } from './session-scopes.js';

/** A log-in that has begun: the marks were read, so every change from now on is news to its token. */
export interface BegunLogin {
  readonly subject: string;
  readonly look: Look;
}

/** Starts sessions: marks first, then the claims, then the token. Nothing is written. */
export class SessionStarter {
  constructor(
    private readonly reader: StateReader,
    private readonly keys: StateKeys,
    private readonly scopes: SessionScopes,
    private readonly claims: ClaimsReader,
    private readonly mint: TokenMint,
    private readonly events: EventSink,
    private readonly clock: Clock,
  ) {}

  async begin(subject: string, claims: Claims = {}): Promise<BegunLogin> {
    const look = await this.reader.look(this.keysAt(subject, claims));
    return { subject, look };
  }

  async start(begun: BegunLogin, given: Claims = {}, options?: LogInOptions): Promise<IssuedToken> {
    const { subject } = begun;
    const { claims, look } = await this.readClaims(begun, given);
    const now = this.clock.now();
    const authTime = toSeconds(look.readAt);
    const sid = uuidv7({ msecs: now });
    const login = termsOf(options, authTime);
    const seen = { ...this.seenAt(subject, claims, look), ...(login && { login }) };
    const access: VerifiedToken = {
      ...claims,
      ...this.mint.parties,
      sub: subject,
      sid,
      jti: tokenIdAt(now),
      auth_time: authTime,
      iat: authTime,
      exp: this.mint.freshExpiry(look.readAt, { auth_time: authTime, seen }),
      seen,
    };
    const issued = this.mint.sign(access, this.mint.refreshTokenOf(access, 0));
    const refreshJti = issued.refreshClaims?.jti;
    const ids = { sub: subject, sid, jti: access.jti };
    this.events.emit('issued', { ...ids, ...(refreshJti !== undefined && { refreshJti }) });
    return issued;
  }

  /** Where the source names a scope whose marks were not read, these are read and it is asked again. */
  private async readClaims({ subject, look: first }: BegunLogin, given: Claims) {
    this.refuseUnread(subject, given, first);
    let look = first;
    for (let attempt = 0; attempt < 2; attempt++) {
      const read = this.claims.hasSource ? await this.claims.read(subject, undefined) : {};
      if (read === null) throw new SubjectRefusedError();
      const claims = { ...read, ...given };
      const keys = this.keysAt(subject, claims);
      if (keys.every((key) => look.has(key))) return { claims, look };
      look = await this.reader.extend(look, keys);
    }
    throw new ClaimsUnavailableError('The claims changed their scope while they were read.');
  }

  /** Given claims cannot be asked for again; marks read after them would be recorded falsely. */
  private refuseUnread(subject: string, given: Claims, look: Look): void {
    const unread = this.scopesAt(subject, given).find((scope) => !look.has(this.keys.scope(scope)));
    if (!unread) return;
    throw new ClaimsInvalidError(
      `begin() has not read the marks of this ${unread.name}: name it there, as in ` +
        `begin(subject, { ${unread.name} }).`,
    );
  }

  private seenAt(subject: string, claims: Claims, look: Look): Seen {
    const states = this.scopesAt(subject, claims).map((scope) => look.scope(scope));
    const marks = [...states, look.store?.everyone ?? {}];
    const stale = marks.flatMap((state) => (state.stale ? [state.stale] : []));
    const revoked = marks.flatMap(revocationsIn);
    const now = this.clock.now();
    const ahead = stale.flatMap(({ deadlines }) => [...deadlines.values()]).filter((t) => t > now);
    return {
      v: 2,
      epoch: look.store?.epoch ?? '',
      ...(stale.length > 0 && { stale: stale.map(({ id }) => id) }),
      ...(revoked.length > 0 && { revoked }),
      ...(ahead.length > 0 && { until: Math.min(...ahead) }),
    };
  }

  private scopesAt(subject: string, claims: Claims): Scope[] {
    return this.scopes.of({ ...claims, sub: subject } as VerifiedToken);
  }

  private keysAt(subject: string, claims: Claims): string[] {
    return this.scopesAt(subject, claims).map((scope) => this.keys.scope(scope));
  }
}
