import type { Clock } from '../clock.js';
import type { DenyListKeys } from '../deny-list/deny-list.keys.js';
import type { DenyListStore } from '../deny-list/deny-list.store.js';
import { DenyListUnavailableError, JwtStateError } from '../jwt-state.errors.js';
import { timeOfTokenId } from '../token/token-id.js';
import { checkClaims, type TokenRules } from '../token/token-rules.js';
import type { TokenSigner } from '../token/token-signer.js';
import { SESSION_TYPE } from '../token/token-types.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** A record is exchanged against the one that stands there; this often it may have moved on. */
const EXCHANGE_ATTEMPTS = 20;

export interface SessionRecordSettings {
  /** Milliseconds from `auth_time` on. */
  readonly sessionMaxAge: number;
  /** Milliseconds on top, so that it outlives the session. */
  readonly margin: number;
}

/**
 * What a session has chosen: the claims of its last token that explicit changes were laid over. An
 * access token hands them on by itself; a refresh token was made before them, so they are kept
 * here, and read by a refresh only. Signed, so that who can write to the store cannot mint claims.
 */
export class SessionRecords {
  constructor(
    private readonly store: DenyListStore,
    private readonly keys: DenyListKeys,
    private readonly signer: TokenSigner,
    private readonly verifier: TokenVerifier,
    private readonly rules: TokenRules,
    private readonly clock: Clock,
    private readonly settings: SessionRecordSettings,
  ) {}

  /** Keeps the claims of this token, unless those of a newer one are kept already. */
  async keep(token: VerifiedToken): Promise<void> {
    const key = this.keys.session(token.sid);
    const record = this.signer.sign({ claims: token }, SESSION_TYPE);
    let standing: string | undefined;
    for (let attempt = 0; attempt < EXCHANGE_ATTEMPTS; attempt++) {
      const { written, current } = await this.store.writeIfUnchanged(
        key,
        standing,
        record,
        this.lifetimeOf(token),
      );
      if (written) return;
      const kept = current === undefined ? undefined : await this.open(current, token);
      if (kept && isNewer(kept, token)) return;
      standing = current;
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  /** The token whose claims the session keeps; they are true of it, however old it is. */
  async read(session: VerifiedToken): Promise<VerifiedToken | undefined> {
    const [record] = await this.store.read([this.keys.session(session.sid)]);
    return record === undefined ? undefined : this.open(record, session);
  }

  private async open(record: string, session: VerifiedToken): Promise<VerifiedToken | undefined> {
    try {
      const { claims } = (await this.verifier.open(record, SESSION_TYPE)) as { claims: unknown };
      const token = checkClaims(claims, this.rules, this.clock.now(), { ignoreExpiration: true });
      return token.sid === session.sid && token.sub === session.sub ? token : undefined;
    } catch (error) {
      if (error instanceof JwtStateError && error.getStatus() === 401) return undefined;
      throw error;
    }
  }

  private lifetimeOf({ auth_time }: VerifiedToken): number {
    const end = auth_time * 1000 + this.settings.sessionMaxAge + this.settings.margin;
    return Math.max(1, Math.ceil(end - this.clock.now()));
  }
}

function isNewer(one: VerifiedToken, other: VerifiedToken): boolean {
  return (timeOfTokenId(one.jti) ?? 0) > (timeOfTokenId(other.jti) ?? 0);
}
