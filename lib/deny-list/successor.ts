import { JwtStateError } from '../jwt-state.errors.js';
import { checkClaims, type TokenRules } from '../token/token-rules.js';
import type { TokenSigner } from '../token/token-signer.js';
import { SUCCESSOR_TYPE } from '../token/token-types.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { VerifiedToken } from '../token/verified-token.js';

/** What a superseded token leads to. */
export interface Successor {
  /** When the predecessor was superseded, in ms. */
  readonly at: number;
  readonly claims: VerifiedToken;
}

/**
 * The record `next:<jti>`. It is signed, so that who can write to the store cannot mint claims;
 * it holds claims and not a token, so that who can read the store cannot use what he finds; and
 * it names its predecessor, so that it cannot be put under another token's key.
 */
export class SuccessorCodec {
  constructor(
    private readonly signer: TokenSigner,
    private readonly verifier: TokenVerifier,
    private readonly rules: TokenRules,
  ) {}

  encode(predecessor: VerifiedToken, successor: Successor): string {
    const { at, claims } = successor;
    return this.signer.sign({ of: predecessor.jti, at, claims }, SUCCESSOR_TYPE);
  }

  /**
   * `undefined` for a record that is not ours, or not about this token.
   *
   * @throws KeysUnavailableError when nobody can say
   */
  async decode(
    predecessor: VerifiedToken,
    record: string,
    now: number,
  ): Promise<Successor | undefined> {
    try {
      const { of, at, claims } = (await this.verifier.open(record, SUCCESSOR_TYPE)) as Record<
        string,
        unknown
      >;
      const successor = checkClaims(claims, this.rules, now);
      const related =
        of === predecessor.jti &&
        successor.sid === predecessor.sid &&
        successor.sub === predecessor.sub;
      return related && typeof at === 'number' ? { at, claims: successor } : undefined;
    } catch (error) {
      if (error instanceof JwtStateError && error.getStatus() === 401) return undefined;
      throw error;
    }
  }
}
