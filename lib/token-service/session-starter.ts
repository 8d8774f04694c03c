import { v7 as uuidv7 } from 'uuid';
import type { Clock } from '../clock.js';
import { type DenyList, missingScopes } from '../deny-list/deny-list.js';
import { type MarkSnapshot, seenBy } from '../deny-list/marks.js';
import type { EventSink } from '../events/token-events.js';
import {
  ClaimsInvalidError,
  ClaimsUnavailableError,
  SubjectRefusedError,
} from '../jwt-state.errors.js';
import type { ClaimsReader } from '../token/claims-reader.js';
import type { IssuedToken } from '../token/issued-token.js';
import { nextTokenId } from '../token/token-id.js';
import { type TokenMint, toSeconds } from '../token/token-mint.js';
import { isIdentifier } from '../token/token-rules.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import { type LogInOptions, termsOf } from './log-in-options.js';

/**
 * A log-in that has begun: the marks were read, so that a change which happens from now on is news
 * to the token. Made by `TokenService.begin()`.
 *
 * @publicApi
 */
export class IssueContext {
  /** @internal */
  constructor(
    readonly subject: string,
    /** @internal */
    readonly snapshot: MarkSnapshot,
  ) {}
}

/** Starts sessions: marks first, then the claims, then the token. */
export class SessionStarter {
  constructor(
    private readonly denyList: DenyList,
    private readonly claims: ClaimsReader,
    private readonly mint: TokenMint,
    private readonly events: EventSink,
    private readonly clock: Clock,
  ) {}

  async begin(subject: string | number, claims?: Claims): Promise<IssueContext> {
    const sub = toSubject(subject);
    return new IssueContext(
      sub,
      await this.denyList.readMarks(this.denyList.scopesAtLogin(sub, claims)),
    );
  }

  async start(
    context: IssueContext,
    given: Claims | undefined,
    options?: LogInOptions,
  ): Promise<IssuedToken> {
    const { subject } = context;
    const { claims, snapshot } = await this.readClaims(context, given);
    const now = this.clock.now();
    const authTime = toSeconds(snapshot.readAt);
    const sid = uuidv7({ msecs: now });
    const scopes = this.denyList.scopesAtLogin(subject, claims);
    const login = termsOf(options, authTime);
    const seen = { ...seenBy(snapshot, scopes), ...(login && { login }) };
    const access: VerifiedToken = {
      ...claims,
      ...this.mint.parties,
      sub: subject,
      sid,
      jti: nextTokenId(now),
      auth_time: authTime,
      iat: authTime,
      exp: this.mint.freshExpiry(snapshot.readAt, { auth_time: authTime, seen }),
      seen,
    };
    const issued = this.mint.sign(access, this.mint.refreshTokenFor(access));
    const refreshJti = issued.refreshClaims?.jti;
    const ids = { sub: subject, sid, jti: access.jti };
    this.events.emit('issued', { ...ids, ...(refreshJti !== undefined && { refreshJti }) });
    return issued;
  }

  /** Where the source names a scope whose marks were not read, these are read and it is asked again. */
  private async readClaims(context: IssueContext, given: Claims | undefined) {
    const { subject } = context;
    this.refuseUnread(context, given);
    let { snapshot } = context;
    for (let attempt = 0; attempt < 2; attempt++) {
      const read = this.claims.hasSource ? await this.claims.read(subject, undefined) : {};
      if (read === null) {
        throw new SubjectRefusedError();
      }
      const claims = { ...read, ...given };
      const missing = missingScopes(this.denyList.scopesAtLogin(subject, claims), snapshot.scopes);
      if (missing.length === 0) return { claims, snapshot };
      snapshot = await this.denyList.extend(snapshot, missing);
    }
    throw new ClaimsUnavailableError('The claims changed their scope while they were read.');
  }

  /** Given claims cannot be asked for again; marks read after them would be recorded falsely. */
  private refuseUnread({ subject, snapshot }: IssueContext, given: Claims | undefined): void {
    const scopes = this.denyList.scopesAtLogin(subject, given);
    const [unread] = missingScopes(scopes, snapshot.scopes);
    if (!unread) return;
    throw new ClaimsInvalidError(
      `begin() has not read the marks of this ${unread.name}: name it there, as in ` +
        `begin(subject, { ${unread.name} }).`,
    );
  }
}

/** Numeric user ids are taken, and kept as strings (`sub` is one, RFC 7519 §4.1.2). */
export function toSubject(subject: string | number): string {
  const text =
    typeof subject === 'number' && Number.isSafeInteger(subject) ? `${subject}` : subject;
  if (isIdentifier(text)) return text;
  throw new ClaimsInvalidError(
    'The subject must be a string that is not empty, or a whole number.',
  );
}
