import { JwtStateError, TokenExpiredError } from '../jwt-state.errors.js';
import { timeOfTokenId } from '../token/token-id.js';
import type { VerifiedToken } from '../token/verified-token.js';

interface Judged {
  readonly text: string;
  /** Absent: it was refused. */
  readonly token?: VerifiedToken;
  readonly isExpired?: boolean;
}

/** Each costs a check of its signature, and nobody has changed the scope of a cookie more often. */
const MOST = 4;

/**
 * Chooses among cookies of one name: those that a former scope has left behind, or that another host
 * of the site has planted. Their order says nothing, and which scope each has is not sent.
 */
export class CookieChoice {
  constructor(
    private readonly verify: (text: string) => Promise<VerifiedToken>,
    private readonly isAlive: (token: VerifiedToken) => Promise<boolean>,
  ) {}

  /**
   * The newest of one session. What is refused, or of a session that has ended, does not count.
   *
   * @returns `undefined` where two sessions are left: one of them may have been planted
   * @throws KeysUnavailableError, DenyListUnavailableError when nobody can say
   */
  async among(texts: readonly string[]): Promise<string | undefined> {
    if (texts.length > MOST) return undefined;
    const judged = await Promise.all(texts.map((text) => this.judge(text)));
    const valid = judged.filter((one): one is Required<Judged> => one.token !== undefined);
    // None counts: the answer is then that to an expired one, which a client can refresh.
    if (valid.length === 0) return (judged.find(({ isExpired }) => isExpired) ?? judged[0])?.text;
    if (!areOfOneSession(valid)) return this.newestAlive(valid);
    return newest(valid).text;
  }

  private async newestAlive(valid: Required<Judged>[]): Promise<string | undefined> {
    const answers = await Promise.all(valid.map(({ token }) => this.isAlive(token)));
    const alive = valid.filter((_, index) => answers[index]);
    if (alive.length === 0) return newest(valid).text;
    return areOfOneSession(alive) ? newest(alive).text : undefined;
  }

  private async judge(text: string): Promise<Judged> {
    try {
      return { text, token: await this.verify(text) };
    } catch (error) {
      if (!(error instanceof JwtStateError) || error.getStatus() !== 401) throw error;
      return { text, isExpired: error instanceof TokenExpiredError };
    }
  }
}

function areOfOneSession(judged: readonly Required<Judged>[]): boolean {
  return new Set(judged.map(({ token }) => token.sid)).size === 1;
}

function newest(judged: readonly Required<Judged>[]): Required<Judged> {
  return judged.reduce((a, b) => (isNewer(b.token, a.token) ? b : a));
}

/** A token of the application's from before has a `jti` without a time: it came first. */
function isNewer(one: VerifiedToken, other: VerifiedToken): boolean {
  const [a, b] = [one, other].map(({ jti }) => timeOfTokenId(jti) ?? 0) as [number, number];
  return a === b ? one.jti > other.jti : a > b;
}
