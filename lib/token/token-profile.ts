import type { VerificationKeys } from '../keys/verification-keys.js';
import type { AdoptionSettings } from './adopted-token.js';
import type { TokenRules } from './token-rules.js';

/** A family of tokens that a service takes: whose keys sign them, and what is demanded of them. */
export interface TokenProfile {
  /** The values of `typ` it has, in lower case; `''` for none. */
  readonly types: readonly string[];
  readonly keys: VerificationKeys;
  readonly rules: TokenRules;
  /** Set where this module did not make them. */
  readonly adoption?: AdoptionSettings;
}

/** The tokens that can be presented as access tokens. */
export interface AccessProfiles {
  readonly own: TokenProfile;
  /** The application's own, from before it used this module. */
  readonly legacy: TokenProfile | undefined;
  /** Those of other issuers, by their `iss`. */
  readonly foreign: ReadonlyMap<string, TokenProfile>;
}
