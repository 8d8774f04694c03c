import type { Clock } from '../clock.js';
import type { DenyListKeys } from '../deny-list/deny-list.keys.js';
import type { DenyListStore } from '../deny-list/deny-list.store.js';
import { newMarkId } from '../deny-list/marks.js';
import { DenyListUnavailableError, JwtStateError } from '../jwt-state.errors.js';
import type { TokenSigner } from '../token/token-signer.js';
import { SESSION_TYPE } from '../token/token-types.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';
import {
  type Choosing,
  isSessionRecord,
  type SessionRecord,
  withChoices,
} from './session-record.js';

/** A record is exchanged against the one that stands there; this often it may have moved on. */
const EXCHANGE_ATTEMPTS = 100;

export interface SessionRecordSettings {
  /** Milliseconds from `auth_time` on. */
  readonly sessionMaxAge: number;
  /** Milliseconds on top, so that it outlives the session. */
  readonly margin: number;
}

/**
 * The records of sessions in the store: signed, so that who can write to it cannot mint claims, and
 * naming their session, so that none can be put in another's place.
 */
export class SessionRecords {
  constructor(
    private readonly store: DenyListStore,
    private readonly keys: DenyListKeys,
    private readonly signer: TokenSigner,
    private readonly verifier: TokenVerifier,
    private readonly clock: Clock,
    private readonly settings: SessionRecordSettings,
  ) {}

  /**
   * Adds what a token has chosen. Answers the record as it stands then.
   *
   * @throws DenyListUnavailableError where that is not confirmed
   */
  async keep(choosing: Choosing): Promise<SessionRecord> {
    const { token } = choosing;
    const key = this.keys.session(token.sid);
    let standing: string | undefined;
    for (let attempt = 0; attempt < EXCHANGE_ATTEMPTS; attempt++) {
      const before = standing === undefined ? undefined : await this.open(standing, token);
      const record = withChoices(before, choosing, newMarkId(this.clock.now()));
      const sealed = this.seal(record, token);
      const ttl = this.lifetimeOf(token);
      const result = await this.store.writeIfUnchanged(key, standing, sealed, ttl);
      if (result.written) return record;
      standing = result.current;
    }
    throw new DenyListUnavailableError('Too many changes to one session at once.');
  }

  async read(session: VerifiedToken): Promise<SessionRecord | undefined> {
    const [sealed] = await this.store.read([this.keys.session(session.sid)]);
    return sealed === undefined ? undefined : this.open(sealed, session);
  }

  private seal(record: SessionRecord, { sid, sub }: VerifiedToken): string {
    return this.signer.sign({ sid, sub, record }, SESSION_TYPE);
  }

  /** `undefined` for what is not ours, or not about this session: it stands in nobody's way. */
  private async open(sealed: string, session: VerifiedToken): Promise<SessionRecord | undefined> {
    try {
      const { sid, sub, record } = (await this.verifier.open(sealed, SESSION_TYPE)) as Record<
        string,
        unknown
      >;
      const isOfSession = sid === session.sid && sub === session.sub;
      return isOfSession && isSessionRecord(record) ? record : undefined;
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
