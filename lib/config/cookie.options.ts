/** A cookie that an earlier configuration has set, and that browsers are to delete. */
export class FormerCookieOptions {
  /** Default: that of the cookie itself. */
  name?: string | undefined = undefined;
  /** Default: that of the cookie itself. */
  path?: string | undefined = undefined;
  /** Default: none; it was a cookie of this host. */
  domain?: string | undefined = undefined;
  partitioned?: boolean = false;
}

/** The cookie that carries the token. */
export class CookieOptions {
  /** Default: `__Host-token` where the other attributes allow that prefix, else `token`. */
  name?: string | undefined = undefined;
  path?: string = '/';
  domain?: string | undefined = undefined;
  secure?: boolean = true;
  sameSite?: 'strict' | 'lax' | 'none' = 'lax';
  /**
   * One for each top-level site that embeds this one (CHIPS). Needs `secure`, and mostly
   * `sameSite: 'none'`.
   */
  partitioned?: boolean = false;
  /**
   * Whether it outlives the browser, by a `Max-Age`. A log-in may decide for itself:
   * `issue(subject, claims, { persistent })`.
   */
  persistent?: boolean = true;
  /**
   * Scopes that it had before, so that browsers delete what is left of them.
   *
   * @example
   * ```ts
   * // was: { name: 'token', domain: 'example.com' }
   * cookie: { name: 'token', former: [{ domain: 'example.com' }] }
   * ```
   */
  former?: readonly FormerCookieOptions[] = [];
}

/** The cookie that carries the refresh token: only to the refresh route, and from nowhere else. */
export class RefreshCookieOptions {
  /** Default: `__Secure-refresh-token`, or `refresh-token` without `secure`. */
  name?: string | undefined = undefined;
  /**
   * Default: the path of the refresh route, global prefix and its exclusions included. Required where
   * that path has a parameter, and with `refresh.path: false`.
   */
  path?: string | undefined = undefined;
  domain?: string | undefined = undefined;
  secure?: boolean = true;
  sameSite?: 'strict' | 'lax' | 'none' = 'strict';
  /** See {@link CookieOptions.partitioned}. */
  partitioned?: boolean = false;
  /** See {@link CookieOptions.persistent}. */
  persistent?: boolean = true;
  /** See {@link CookieOptions.former}. */
  former?: readonly FormerCookieOptions[] = [];
}
