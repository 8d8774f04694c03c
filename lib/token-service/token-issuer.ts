import type { StagedDeliveries } from '../delivery/staged-deliveries.js';
import type { DenyList } from '../deny-list/deny-list.js';
import {
  ForeignTokenError,
  InvalidGrantError,
  NoSigningKeyError,
  TokenInvalidError,
} from '../jwt-state.errors.js';
import type { RefreshTokens } from '../refresh/refresh-tokens.js';
import { currentHandlerScope } from '../reissue/handler-scope.js';
import type { Reissuer } from '../reissue/reissuer.js';
import type { TokenResolver } from '../reissue/token-resolver.js';
import { type ClaimsReader, checkedClaims } from '../token/claims-reader.js';
import { signedToken } from '../token/effective-token.js';
import type { IssuedToken } from '../token/issued-token.js';
import type { TokenMint } from '../token/token-mint.js';
import { isRefreshToken, type TokenVerifier } from '../token/token-verifier.js';
import {
  type Claims,
  isVerifiedToken,
  type ReservedClaims,
  type VerifiedToken,
} from '../token/verified-token.js';
import type { LogInOptions } from './log-in-options.js';
import { about } from './refusals.js';
import { IssueContext, type SessionStarter } from './session-starter.js';

/** @internal What the service is put together from. */
export interface TokenServiceParts {
  readonly verifier: TokenVerifier;
  readonly starter: SessionStarter;
  readonly resolver: TokenResolver;
  readonly reissuer: Reissuer;
  readonly refreshTokens: RefreshTokens | undefined;
  readonly mint: TokenMint;
  readonly claims: ClaimsReader;
  readonly denyList: DenyList;
  readonly staged: StagedDeliveries;
  readonly scopeClaims: readonly string[];
  readonly refreshesAccessTokens: boolean;
  readonly renew: boolean;
}

/** What is known of a token that is to be verified. */
export interface VerifySettings {
  /**
   * It is the token by which this request says who sends it, found where the guard does not look: a refusal that
   * leaves the handler is a 401, as the guard's.
   *
   * @default false
   */
  readonly own?: boolean;
}

/**
 * Issues, replaces and verifies tokens: what there is with and without a deny list. With one,
 * inject `TokenService`, which can end sessions, too.
 *
 * Every method rejects with `DenyListUnavailableError` when the store did not answer or did not
 * confirm: nothing here pretends to have happened.
 *
 * @publicApi
 */
export class TokenIssuer<C extends Claims = Claims> {
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
   * @param options what this log-in decides for its session: "remember me", a shorter life
   * @example
   * ```ts
   * return this.tokens.issue(user.id, { plan: user.plan });
   * ```
   * @example
   * ```ts
   * const forADay = { persistent: false, maxAge: '1d' } as const;
   * const issued = await this.tokens.issue(user.id, {}, remember ? undefined : forADay);
   * ```
   * @throws SubjectRefusedError when the claims source gives this subject no token
   * @throws ClaimsInvalidError for reserved names and values JSON cannot carry
   * @throws TokenTooLargeError, ClaimsUnavailableError, NoSigningKeyError
   */
  issue(
    subject: string | number,
    claims?: Partial<C>,
    options?: LogInOptions,
  ): Promise<IssuedToken<C>>;
  /** A log-in that has begun: see {@link begin}. */
  issue(
    context: IssueContext,
    claims?: Partial<C>,
    options?: LogInOptions,
  ): Promise<IssuedToken<C>>;
  async issue(
    to: string | number | IssueContext,
    claims?: Partial<C>,
    options?: LogInOptions,
  ): Promise<IssuedToken<C>> {
    this.#requireSigningKey();
    const { starter } = this.#parts;
    const checked = claims && checkedClaims('claims given to issue()', claims);
    const context = to instanceof IssueContext ? to : await starter.begin(to, checked);
    return (await starter.start(context, checked, options)) as IssuedToken<C>;
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
    const checked = changes && checkedClaims('changes given to reissue()', changes, 'changes');
    const scope = currentHandlerScope();
    if (!isVerifiedToken(current)) return about({ sid: '' }, refuseUnverified);
    const token: VerifiedToken = current;
    if (token.seen.origin === 'foreign') throw new ForeignTokenError();
    if (scope?.covers(token)) return scope.stage(checked) as IssuedToken<C>;
    const { reissuer, renew } = this.#parts;
    const request = { why: 'request', changes: checked, renew } as const;
    const issued = await about({ sid: token.sid }, () =>
      reissuer.replace(signedToken(token), request),
    );
    return issued as IssuedToken<C>;
  }

  /**
   * A new token with a new `exp`, up to `session.maxAge` after the log-in.
   *
   * - For an access token that is still valid (where `refresh.accessTokens` allows it): it is replaced.
   *   A superseded one within its grace period gets the tip of its successors.
   * - For a refresh token (`refresh.tokens`): a new pair (RFC 6749 §6). A token that was exchanged
   *   before gets the same successor again within the grace period, and after it as long as nobody
   *   has used that; otherwise the session is revoked (RFC 9700 §4.14.2).
   *
   * @throws InvalidGrantError for a refresh token that leads to nothing, and for an access token where
   *   `refresh.accessTokens` is off
   * @throws TokenInvalidError, TokenExpiredError, TokenRevokedError, TokenSupersededError
   * @throws SessionExpiredError, ClaimsUnavailableError, NoSigningKeyError
   */
  async refresh(token: string): Promise<IssuedToken<C>> {
    this.#requireSigningKey();
    const { verifier, resolver, reissuer, refreshTokens } = this.#parts;
    if (refreshTokens && isRefreshToken(token)) {
      return (await refreshTokens.refresh(token)) as IssuedToken<C>;
    }
    if (!this.#parts.refreshesAccessTokens) throw new InvalidGrantError();
    const { tip, presented } = await resolver.resolve(await verifier.verify(token), 'ignore');
    const issued = await reissuer.replace(tip, { why: 'refresh', renew: true }, presented);
    return issued as IssuedToken<C>;
  }

  /**
   * Signature, claims and deny list, for any transport. A superseded token within its grace period
   * answers with its successor's claims; a stale one is refused, since there is no response to
   * put a new one into.
   *
   * Over HTTP an error that leaves the handler is a 401 only where the token is the request's own, as the guard
   * finds it; else 422 `INVALID_TARGET`, or the client would take it for a verdict on its own token.
   *
   * @example A guard of your own, whose token comes by the query:
   * ```ts
   * request.user = await this.tokens.verify(request.query.access_token, { own: true });
   * ```
   * @throws TokenInvalidError, TokenExpiredError, TokenRevokedError, TokenSupersededError,
   *   TokenStaleError, DenyListLostError
   */
  async verify(token: string, { own = false }: VerifySettings = {}): Promise<VerifiedToken<C>> {
    const { verifier, resolver } = this.#parts;
    const verify = async () => resolver.resolve(await verifier.verify(token), 'refuse');
    const { current } = await (own ? verify() : about({ text: token }, verify));
    return current as VerifiedToken<C>;
  }

  #requireSigningKey(): void {
    if (!this.#parts.mint.canSign) throw new NoSigningKeyError();
  }
}

async function refuseUnverified(): Promise<never> {
  throw new TokenInvalidError('reissue() takes what @CurrentToken() or verify() gave');
}
