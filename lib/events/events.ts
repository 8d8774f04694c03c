/** Why a token was replaced. */
export type ReissueReason =
  /** The state behind it had changed (`markStale`, another device's handler). */
  | 'stale'
  /** A `@ReissuesToken()` handler has changed its state. */
  | 'handler'
  /** `tokens.reissue()`. */
  | 'request'
  /** `tokens.refresh()` or the refresh route, with an access token. */
  | 'refresh'
  /** The same with a refresh token. */
  | 'refresh-token'
  /** It was made before the application used this module. */
  | 'legacy'
  /** The store had been lost (`denyList.onLoss: 'reissue'`). */
  | 'loss';

/** Why a session or scope was revoked. */
export type RevokeReason =
  /** `tokens.revoke()`. */
  | 'request'
  /** The claims source answered `null`. */
  | 'subject-gone'
  /** A refresh token was used twice. */
  | 'refresh-reuse'
  /** What the session left while it was reissued (a tenant) was revoked meanwhile. */
  | 'left-scope';

interface TokenIds {
  readonly sub: string;
  readonly sid: string;
  readonly jti: string;
}

/** What a mark speaks of, as `revoke()` and `markStale()` name it. */
export type EventTarget = { readonly name: string; readonly value: string };

/**
 * What happened, by name. Ids only: no event ever holds a token, a signature or a key. `at` is in
 * milliseconds since the epoch.
 *
 * @publicApi
 */
export interface JwtStateEvents {
  /** A log-in: a session has begun. */
  issued: TokenIds & { readonly at: number; readonly refreshJti?: string };
  /**
   * There is a new access token; `predecessor` is the `jti` it was asked for with, a refresh token's
   * where `why` is `refresh-token`.
   */
  reissued: TokenIds & {
    readonly at: number;
    readonly predecessor: string;
    readonly why: ReissueReason;
    /** The refresh token that went with it, where `why` is `refresh-token`. */
    readonly refreshJti?: string;
  };
  /**
   * A token that had been replaced was used. In grace it was answered for; later it was refused,
   * unless it is a refresh token whose successor nobody has used.
   */
  'superseded-use': TokenIds & { readonly at: number; readonly inGrace: boolean };
  /** A refresh token was used again after its successor had been: its session is being revoked. */
  'refresh-reuse': TokenIds & { readonly at: number };
  revoked: {
    readonly at: number;
    readonly scope: EventTarget;
    /** The session that stays. */
    readonly except?: string;
    readonly why: RevokeReason;
  };
  /** State has changed; `pending`: a handler has begun to change it. */
  'marked-stale': { readonly at: number; readonly scope: EventTarget; readonly pending: boolean };
  /** The store did not answer or did not confirm; `reason` is an error's code or class. */
  'store-failed': { readonly at: number; readonly reason: string };
  /** It answers again. */
  'store-recovered': { readonly at: number };
  /** A token names an epoch that the store does not have: its entries were lost. */
  'store-lost': TokenIds & {
    readonly at: number;
    readonly policy: 'reject' | 'reissue';
  };
}

export type JwtStateEventName = keyof JwtStateEvents;
