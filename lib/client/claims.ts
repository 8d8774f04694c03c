/** The claims that every token of this library has, beside those of the application. */
export interface TokenClaims {
  readonly sub: string;
  /** The session that one log-in started; every reissue keeps it. */
  readonly sid: string;
  /** The id of this one token. A UUIDv7: within one `sid` the newer one sorts later, as text. */
  readonly jti: string;
  /** Seconds since 1970, by the server's clock, like `exp` and `auth_time`. */
  readonly iat: number;
  readonly exp: number;
  readonly auth_time: number;
  readonly [name: string]: unknown;
}

const COMPACT = /^[\w-]+\.([\w-]+)\.[\w-]+$/;

/** The payload of a JWT, or nothing where it is none. The signature is the server's matter. */
export function readClaims(token: unknown): Partial<TokenClaims> | undefined {
  try {
    const payload = COMPACT.exec(token as string)?.[1] as string;
    const bytes = atob(payload.replace(/-/g, '+').replace(/_/g, '/'));
    // React Native has no TextDecoder in older versions.
    const hex = (byte: string) => `%${`0${byte.charCodeAt(0).toString(16)}`.slice(-2)}`;
    return Object(JSON.parse(decodeURIComponent(bytes.replace(/./gs, hex))));
  } catch {
    return undefined;
  }
}
