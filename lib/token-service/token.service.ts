import type { StagedDeliveries } from '../delivery/staged-deliveries.js';
import type { DenyList } from '../deny-list/deny-list.js';
import type { Scope } from '../deny-list/scopes.js';
import { NoClaimsSourceError, NoSigningKeyError } from '../jwt-state.errors.js';
import { currentHandlerScope } from '../reissue/handler-scope.js';
import type { Reissuer } from '../reissue/reissuer.js';
import type { TokenResolver } from '../reissue/token-resolver.js';
import { type ClaimsReader, checkedClaims } from '../token/claims-reader.js';
import { signedToken } from '../token/effective-token.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import type { TokenVerifier } from '../token/token-verifier.js';
import type { Claims, ReservedClaims, VerifiedToken } from '../token/verified-token.js';
import { type RevokeTarget, readScope, readTarget, type StaleTarget } from './revoke-target.js';
import { IssueContext, type SessionStarter } from './session-starter.js';

/** @internal What the service is put together from. */
export interface TokenServiceParts {
  readonly verifier: TokenVerifier;
  readonly starter: SessionStarter;
  readonly resolver: TokenResolver;
  readonly reissuer: Reissuer;
  readonly mint: TokenMint;
  readonly claims: ClaimsReader;
  readonly denyList: DenyList;
  readonly staged: StagedDeliveries;
  readonly scopeClaims: readonly string[];
  readonly renew: boolean;
}

/**
 * Issues, replaces and ends tokens.
 *
 * Every method rejects with {@link DenyListUnavailableError} when the store did not answer or did
 * not confirm: nothing here pretends to have happened.
 *
 * @publicApi
 */
export class TokenService<C extends Claims = Claims> {
  readonly #parts: TokenServiceParts;

  /** @internal */
  constructor(parts: TokenServiceParts) {
    this.#parts = parts;
  }

  /**
   * A log-in: starts a session and issues its first token. With a claims source its answer is
   * taken, and `claims` are laid over it; without one, `claims` are the claims.
   *
   * `claims` that were read before this call may be older than a change that happened in between:
   * use {@link begin} first, where that matters.
   *
   * @param subject the user's id; numbers are kept as strings
   * @example
   * ```ts
   * return this.tokens.issue(user.id, { plan: user.plan });
   * ```
   * @throws TokenRevokedError when the claims source gives this subject no token
   * @throws ClaimsInvalidError for reserved names and values JSON cannot carry
   * @throws TokenTooLargeError, ClaimsUnavailableError, NoSigningKeyError
   */
  issue(subject: string | number, claims?: Partial<C>): Promise<IssuedToken<C>>;
  /** A log-in that has begun: see {@link begin}. */
  issue(context: IssueContext, claims?: Partial<C>): Promise<IssuedToken<C>>;
  async issue(to: string | number | IssueContext, claims?: Partial<C>): Promise<IssuedToken<C>> {
    this.#requireSigningKey();
    const { starter } = this.#parts;
    const checked = claims && checkedClaims('claims given to issue()', claims);
    const context = to instanceof IssueContext ? to : await starter.begin(to, checked);
    return (await starter.start(context, checked)) as IssuedToken<C>;
  }

  /**
   * Reads the marks now, so that whatever changes from here on is news to the token. For log-ins
   * that check credentials or read claims themselves.
   *
   * @example
   * ```ts
   * const login = await this.tokens.begin(userId);
   * const user = await this.users.checkPassword(userId, password);
   * return this.tokens.issue(login, { plan: user.plan });
   * ```
   * @param scopes the values of claims listed in `denyList.claims` that will be given to
   *   {@link issue}; what the claims source answers need not be named
   */
  begin(subject: string | number, scopes?: Partial<C>): Promise<IssueContext> {
    return this.#parts.starter.begin(subject, scopes);
  }

  /**
   * Replaces a token by one with the claims that are true now, `changes` laid over them. It keeps
   * its `exp` unless `reissue.expiry` is `'renew'`.
   *
   * In a `@ReissuesToken()` handler it is staged: it happens if the handler succeeds, and the
   * returned token can be returned or serialised, but not read before.
   *
   * @param current what `@CurrentToken()` or {@link verify} gave
   * @example
   * ```ts
   * @Post('tenant')
   * @ReissuesToken({ scope: 'session' })
   * async switchTenant(@CurrentToken() token: VerifiedToken, @Body() { tenant }: SwitchTenant) {
   *   await this.tokens.reissue(token, { tenant }); // travels as `delivery` says
   * }
   * ```
   * @throws TokenRevokedError, ClaimsUnavailableError, TokenTooLargeError, NoSigningKeyError
   */
  async reissue(current: ReservedClaims, changes?: Partial<C>): Promise<IssuedToken<C>> {
    this.#requireSigningKey();
    const checked = changes && checkedClaims('changes given to reissue()', changes);
    const scope = currentHandlerScope();
    const token = current as VerifiedToken;
    if (scope?.covers(token)) return scope.stage(checked) as IssuedToken<C>;
    const { reissuer, renew } = this.#parts;
    const request = { changes: checked, renew };
    return (await reissuer.replace(signedToken(token), request)) as IssuedToken<C>;
  }

  /**
   * A new token with a new `exp` for one that is still valid, up to `session.maxAge` after the
   * log-in. A superseded token within its grace period gets the tip of its successors.
   *
   * @throws TokenInvalidError, TokenExpiredError, TokenRevokedError, TokenSupersededError
   * @throws SessionExpiredError, ClaimsUnavailableError, NoSigningKeyError
   */
  async refresh(token: string): Promise<IssuedToken<C>> {
    this.#requireSigningKey();
    const { verifier, resolver, reissuer } = this.#parts;
    const { tip, presented } = await resolver.resolve(verifier.verify(token), 'ignore');
    const issued = await reissuer.replace(tip, { renew: true }, presented);
    return issued as IssuedToken<C>;
  }

  /**
   * Signature, claims and deny list, for any transport. A superseded token within its grace period
   * answers with its successor's claims; a stale one is refused, since there is no response to
   * put a new one into.
   *
   * @throws TokenInvalidError, TokenExpiredError, TokenRevokedError, TokenSupersededError,
   *   TokenStaleError, DenyListLostError
   */
  async verify(token: string): Promise<VerifiedToken<C>> {
    const { verifier, resolver } = this.#parts;
    const { current } = await resolver.resolve(verifier.verify(token), 'refuse');
    return current as VerifiedToken<C>;
  }

  /**
   * Ends sessions: all tokens made until now, at the next request of each.
   *
   * - a token (as text or verified; an expired one too): its session, the log-out
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
   * @throws InvalidTargetError, TokenInvalidError
   */
  async revoke(target: RevokeTarget): Promise<void> {
    const { denyList, staged, verifier, scopeClaims } = this.#parts;
    const { scope, except } = readTarget(target, verifier, scopeClaims);
    if (scope.name === 'sid') {
      await denyList.revokeSession(scope.value);
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
   * @throws NoClaimsSourceError without the `claims` option
   * @throws DenyListUnavailableError when the store did not confirm: old claims may live on
   * @throws InvalidTargetError
   */
  async markStale(target: StaleTarget): Promise<void> {
    const { claims, denyList, scopeClaims } = this.#parts;
    if (!claims.hasSource) throw new NoClaimsSourceError();
    const scope: Scope = readScope(target, scopeClaims);
    await denyList.markStale(scope);
  }

  #requireSigningKey(): void {
    if (!this.#parts.mint.canSign) throw new NoSigningKeyError();
  }
}
