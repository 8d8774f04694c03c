// The module
export { JwtStateModule } from './jwt-state.module.js';
export {
  AccessTokenOptions,
  type ClaimsSource,
  CookieOptions,
  DeliveryOptions,
  DenyListOptions,
  ForeignIssuerOptions,
  FormerCookieOptions,
  JwtStateOptions,
  type JwtStateOptionsFactory,
  LegacyOptions,
  RefreshCookieOptions,
  RefreshOptions,
  RefreshTokenOptions,
  ReissueOptions,
  SessionOptions,
} from './jwt-state.options.js';
export type { Duration } from './duration.js';
export type {
  Algorithm,
  AsymmetricAlgorithm,
  KeyMaterial,
  KeyOptions,
  KeyPairOptions,
  KeysOption,
  RemoteKeyOptions,
  SecretKeyOptions,
} from './keys/key-options.js';
export type { ForeignClaims, SubjectOf } from './token/adopted-token.js';

// Use
export { JwtStateGuard } from './guards/jwt-state.guard.js';
export { CurrentToken } from './decorators/current-token.decorator.js';
export { Public, type PublicOptions } from './decorators/public.decorator.js';
export { ReissuesToken, type ReissuesTokenOptions } from './decorators/reissues-token.decorator.js';
export { TokenService } from './token-service/token.service.js';
export { TokenIssuer, type VerifySettings } from './token-service/token-issuer.js';
export { LogInOptions } from './token-service/log-in-options.js';
export { IssueContext } from './token-service/session-starter.js';
export { IssuedToken, type TokenResponse } from './token/issued-token.js';
export type { RevokeTarget, StaleTarget, TokenTarget } from './token-service/revoke-target.js';
export type {
  Claims,
  LogInTerms,
  ReservedClaims,
  Seen,
  VerifiedToken,
} from './token/verified-token.js';
export { writeErrorHeaders } from './guards/answer-to.js';
export { TokenDelivery } from './delivery/token-delivery.js';
export type { AnyResponse } from './delivery/raw-http.js';

export { TokenEvents } from './events/token-events.js';
export type {
  EventTarget,
  JwtStateEventName,
  JwtStateEvents,
  ReissueReason,
  RevokeReason,
} from './events/events.js';

// Extend
export { TokenReissueInterceptor } from './interceptors/token-reissue.interceptor.js';
export { JwtStateExceptionFilter } from './jwt-state.exception-filter.js';
export { RefreshTokenController } from './refresh/refresh-token.controller.js';
export { JwksController } from './keys/jwks.controller.js';
export type { Clock } from './clock.js';
export { CLOCK as JWT_STATE_CLOCK } from './jwt-state.tokens.js';

// Errors
export {
  type BearerErrorCode,
  ClaimsInvalidError,
  ClaimsUnavailableError,
  DenyListLostError,
  DenyListUnavailableError,
  ForeignTokenError,
  InvalidGrantError,
  InvalidGrantRequestError,
  InvalidRequestError,
  InvalidTargetError,
  JwtStateConfigError,
  JwtStateError,
  type JwtStateErrorCode,
  KeysUnavailableError,
  NoClaimsSourceError,
  NoSigningKeyError,
  SessionExpiredError,
  TokenExpiredError,
  TokenInvalidError,
  TokenMissingError,
  TokenNotReadyError,
  SubjectRefusedError,
  TokenRevokedError,
  TokenStaleError,
  TokenSupersededError,
  TokenTooLargeError,
  TooManySuccessorsError,
  WrongContextError,
} from './jwt-state.errors.js';
