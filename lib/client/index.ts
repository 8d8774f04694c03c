export type { TokenClaims } from './claims.js';
export type { Locks } from './surroundings.js';
export {
  createTokenClient,
  type SignInAnswer,
  type TokenClient,
} from './token-client.js';
export type {
  ClientDeliveryOptions,
  ClientRefreshOptions,
  FetchInput,
  TokenClientOptions,
  TokenStorage,
} from './token-client.options.js';
