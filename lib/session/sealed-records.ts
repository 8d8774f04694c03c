import { JwtStateError } from '../jwt-state.errors.js';
import { isObject } from '../token/token-form.js';
import type { TokenSigner } from '../token/token-signer.js';
import { SESSION_TYPE, SUCCESSOR_TYPE } from '../token/token-types.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { Choices } from './choices.js';

/** Checks the claims of a tip as those of any token; throws a 401 where they do not hold. */
export type ClaimsCheck = (claims: unknown) => VerifiedToken;

/** The newest token of a session, as the store holds it. */
export interface Tip {
  readonly claims: VerifiedToken;
  readonly gen: number;
}

/**
 * The signed records: the tip of a session, and its choices. Signed, so that write access to the store
 * does not mint claims; claims and no token, so that read access yields nothing to present; and with the
 * session's name inside, so that no record counts under another session's key.
 */
export class SealedRecords {
  constructor(
    private readonly signer: TokenSigner,
    private readonly verifier: Pick<TokenVerifier, 'open'>,
    private readonly check: ClaimsCheck,
  ) {}

  sealTip(claims: VerifiedToken): string {
    const { sid, seen } = claims;
    return this.signer.sign({ sid, gen: seen.gen ?? 0, claims }, SUCCESSOR_TYPE);
  }

  sealChoices({ sid, sub }: VerifiedToken, choices: Choices): string {
    return this.signer.sign({ sid, sub, ...choices }, SESSION_TYPE);
  }

  /** `undefined`: absent, expired, or not a record of this session. */
  async openTip(value: string | undefined, { sid, sub }: VerifiedToken): Promise<Tip | undefined> {
    const record = await this.open(value, SUCCESSOR_TYPE);
    if (!record || record.sid !== sid) return undefined;
    return attempt(() => {
      const claims = this.check(record.claims);
      const gen = claims.seen.gen ?? 0;
      const isOurs = claims.sid === sid && claims.sub === sub && gen === record.gen;
      return isOurs ? { claims, gen } : undefined;
    });
  }

  /** `undefined`: absent, or not a record of this session. */
  async openChoices(
    value: string | undefined,
    { sid, sub }: VerifiedToken,
  ): Promise<Choices | undefined> {
    const record = await this.open(value, SESSION_TYPE);
    if (!record || record.sid !== sid || record.sub !== sub) return undefined;
    const { chosen, at, rev } = record;
    const isRead = isObject(chosen) && Number.isSafeInteger(at) && Array.isArray(rev);
    return isRead ? { chosen, at: at as number, rev: rev as string[] } : undefined;
  }

  private async open(value: string | undefined, type: string) {
    if (value === undefined) return undefined;
    const record = await attempt(() => this.verifier.open(value, type));
    return isObject(record) ? record : undefined;
  }
}

/** What is not ours is no record; that nobody could say is an error. */
async function attempt<T>(read: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof JwtStateError && error.getStatus() === 401) return undefined;
    throw error;
  }
}
