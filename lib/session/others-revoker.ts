import {
  DenyListLostError,
  DenyListUnavailableError,
  TokenRevokedError,
} from '../jwt-state.errors.js';
import type { MarkWriter } from '../state/mark-writer.js';
import { formatScopeState, parseScopeState } from '../state/scope-state.js';
import type { StateKeys } from '../state/state-keys.js';
import type { StateUpdater } from '../state/state-updater.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { StandingReader } from './standing.js';

/** This often another change of the subject's marks may be faster. */
const ATTEMPTS = 30;

/**
 * "Log out my other devices." The caller has to be alive at the moment in which the others end: of two
 * devices that log each other out, one stays, and a session that has ended does not come back.
 */
export class OthersRevoker {
  constructor(
    private readonly standings: StandingReader,
    private readonly updater: StateUpdater,
    private readonly marks: MarkWriter,
    private readonly keys: StateKeys,
  ) {}

  /**
   * @param caller the token of the session that stays
   * @throws TokenRevokedError, DenyListLostError: the caller has been ended itself; nothing is written
   */
  async revokeOthers(caller: VerifiedToken): Promise<void> {
    const key = this.keys.scope({ name: 'sub', value: caller.sub });
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { verdict, place, look } = await this.standings.read(caller, { isAdmitted: true });
      const isRevoked = verdict.state === 'revoked' || this.standings.isRevoked(place, look);
      if (isRevoked) throw new TokenRevokedError();
      if (verdict.state === 'lost') throw new DenyListLostError();
      const judgedBy = look.value(key);
      const written = formatScopeState({
        ...parseScopeState(judgedBy),
        others: { id: this.marks.newId(), except: caller.sid },
      });
      // Only on top of what the caller was judged by.
      const change = (value: string | undefined) => (value === judgedBy ? written : undefined);
      if ((await this.updater.update(key, change, judgedBy)) === written) return;
    }
    throw new DenyListUnavailableError('Too many changes to one subject at once.');
  }
}
