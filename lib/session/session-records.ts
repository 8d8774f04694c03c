import type { DenyListKeys } from '../deny-list/deny-list.keys.js';
import type { DenyListStore } from '../deny-list/deny-list.store.js';
import { JwtStateError } from '../jwt-state.errors.js';
import type { TokenSigner } from '../token/token-signer.js';
import { SESSION_TYPE } from '../token/token-types.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';
import { isSessionRecord, type SessionRecord } from './session-record.js';

/** What stands in the store about a session. */
export interface StandingRecord {
  /** As it is written there, whatever it is. */
  readonly sealed?: string | undefined;
  /** Absent where nothing stands, or nothing of ours. */
  readonly record?: SessionRecord | undefined;
}

/**
 * The records of sessions in the store: signed, so that who can write to it cannot mint claims, and
 * naming their session, so that none can be put in another's place.
 */
export class SessionRecords {
  /**
   * @param lifetime of a record, in ms. It speaks of the refresh tokens made before it, of any service:
   *   later ones say themselves what was chosen. So it has to be kept as long as a mark.
   */
  constructor(
    private readonly store: DenyListStore,
    private readonly keys: DenyListKeys,
    private readonly signer: TokenSigner,
    private readonly verifier: TokenVerifier,
    private readonly lifetime: () => number,
  ) {}

  async read(session: VerifiedToken): Promise<StandingRecord> {
    const [sealed] = await this.store.read([this.keys.session(session.sid)]);
    return this.open(sealed, session);
  }

  /** Writes a record where still `expected` stands. Answers what stands there then. */
  async exchange(
    session: VerifiedToken,
    expected: StandingRecord,
    record: SessionRecord,
  ): Promise<{ written: boolean; standing: StandingRecord }> {
    const key = this.keys.session(session.sid);
    const sealed = this.seal(record, session);
    const ttl = this.lifetime();
    const result = await this.store.writeIfUnchanged(key, expected.sealed, sealed, ttl);
    return result.written
      ? { written: true, standing: { sealed, record } }
      : { written: false, standing: await this.open(result.current, session) };
  }

  private seal(record: SessionRecord, { sid, sub }: VerifiedToken): string {
    return this.signer.sign({ sid, sub, record }, SESSION_TYPE);
  }

  /** What is not ours, or not about this session, is no record: it stands in nobody's way. */
  private async open(sealed: string | undefined, session: VerifiedToken): Promise<StandingRecord> {
    if (sealed === undefined) return {};
    try {
      const { sid, sub, record } = (await this.verifier.open(sealed, SESSION_TYPE)) as Record<
        string,
        unknown
      >;
      const isOfSession = sid === session.sid && sub === session.sub;
      return isOfSession && isSessionRecord(record) ? { sealed, record } : { sealed };
    } catch (error) {
      if (error instanceof JwtStateError && error.getStatus() === 401) return { sealed };
      throw error;
    }
  }
}
