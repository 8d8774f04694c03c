import type { Scope } from '../deny-list/scopes.js';
import { NoClaimsSourceError } from '../jwt-state.errors.js';
import { signedToken } from '../token/effective-token.js';
import type { Claims } from '../token/verified-token.js';
import { type RevokeTarget, readScope, readTarget, type StaleTarget } from './revoke-target.js';
import { TokenIssuer, type TokenServiceParts } from './token-issuer.js';

/**
 * Issues, replaces and ends tokens.
 *
 * Every method rejects with `DenyListUnavailableError` when the store did not answer or did not
 * confirm: nothing here pretends to have happened.
 *
 * @publicApi
 */
export class TokenService<C extends Claims = Claims> extends TokenIssuer<C> {
  readonly #parts: TokenServiceParts;

  /** @internal */
  constructor(parts: TokenServiceParts) {
    super(parts);
    this.#parts = parts;
  }

  /**
   * Ends sessions: all tokens made until now, at the next request of each.
   *
   * - a verified token, or `{ token }` with its text (an expired one too; a refresh token will do): its
   *   session, the log-out
   * - `{ sid }`: that session
   * - `{ sub }`: every session of the subject, "log out everywhere"; a new log-in works at once
   * - `{ sub, except: token }`: all but the caller's own, "log out my other devices"
   * - `{ tenant: 'acme' }`, for claims listed in `denyList.claims`: every session with that value
   *
   * @example
   * ```ts
   * await this.users.changePassword(token.sub, password);
   * await this.tokens.revoke({ sub: token.sub, except: token });
   * ```
   * @throws DenyListUnavailableError when the store did not confirm: the sessions may live on
   * @throws InvalidTargetError for what names no scope, and for a token that is not valid: 422, and no 401,
   *   which would tell the client of whoever asks that its own token is of no use
   */
  async revoke(target: RevokeTarget): Promise<void> {
    const { denyList, staged, verifier, scopeClaims } = this.#parts;
    const { scope, except } = await readTarget(target, verifier, scopeClaims);
    if (scope.name === 'sid') {
      await denyList.revokeSession(scope.value, 'request');
      staged.takeBack((token) => token.sid === scope.value);
    } else if (except) {
      // A session that is dead already is not excepted: nobody revives himself.
      const excepted = (await denyList.isSessionAlive(signedToken(except)))
        ? except.sid
        : undefined;
      const mark = await denyList.revokeOthers(scope.value, excepted);
      staged.takeBack((token) => denyList.isEndedBy(token, mark));
    } else {
      const mark = await denyList.revokeScope(scope);
      staged.takeBack((token) => denyList.isEndedBy(token, mark));
    }
  }

  /**
   * "This state has changed": every token of the scope made until now is stale, and is replaced at
   * its next request. For changes that come from elsewhere: an administrator, a webhook, a job.
   * Call it after the change has been committed.
   *
   * @example
   * ```ts
   * await this.users.setRole(userId, role);
   * await this.tokens.markStale({ sub: userId });
   * ```
   * @throws NoClaimsSourceError without the `claims` option, in a service that issues tokens
   * @throws DenyListUnavailableError when the store did not confirm: old claims may live on
   * @throws InvalidTargetError
   */
  async markStale(target: StaleTarget): Promise<void> {
    const { claims, denyList, mint, scopeClaims } = this.#parts;
    // Who only verifies may well know of a change; others reissue.
    if (!claims.hasSource && mint.canSign) throw new NoClaimsSourceError();
    const scope: Scope = readScope(target, scopeClaims);
    await denyList.markStale(scope);
  }
}
