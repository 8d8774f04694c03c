import type { IncomingMessage } from 'node:http';
import { serialize } from 'cookie';
import type { Cookie, CookieScope } from '../config/cookie.config.js';

/** How long a browser keeps a cookie. */
export interface CookieLife {
  /** Seconds. */
  readonly maxAge: number;
  /** Whether it outlives the browser; `undefined`: as configured. */
  readonly persistent: boolean | undefined;
}

/** A cookie that carries a token: out of the reach of scripts. */
export class TokenCookie {
  /** @param defaultPath asked when it is written, since a global prefix may be set until then */
  constructor(
    private readonly attributes: Cookie,
    private readonly defaultPath: () => string | undefined = () => undefined,
  ) {}

  /** All values of that name, each once: a second one must not win by its place. */
  read({ headers }: IncomingMessage): readonly string[] {
    const prefix = `${this.attributes.name}=`;
    const values = (headers.cookie ?? '')
      .split(';')
      .map((pair) => pair.trim())
      .filter((pair) => pair.startsWith(prefix) && pair.length > prefix.length)
      .map((pair) => pair.slice(prefix.length));
    return values.length > 1 ? [...new Set(values)] : values;
  }

  /**
   * `Set-Cookie` lines (RFC 6265 §4.1). What former scopes have left goes first: clients that do not
   * tell a cookie of this host from one of its domain would delete the new one otherwise.
   */
  format(value: string, { maxAge, persistent = this.attributes.persistent }: CookieLife): string[] {
    const cookie = this.write(this.attributes, value, persistent ? maxAge : undefined);
    return [...this.formerDeletions, cookie];
  }

  /** The same, for a cookie that is to be forgotten. */
  get deletions(): string[] {
    return [...this.formerDeletions, this.write(this.attributes, '', 0)];
  }

  get formerDeletions(): string[] {
    return this.attributes.former.map((scope) => this.write(scope, '', 0));
  }

  private write(scope: CookieScope, value: string, maxAge: number | undefined): string {
    const { secure, sameSite } = this.attributes;
    const { name, domain, partitioned, path = this.defaultPath() } = scope;
    return serialize(name, value, {
      ...(domain !== undefined && { domain }),
      ...(path !== undefined && { path }),
      ...(maxAge !== undefined && { maxAge }),
      secure,
      sameSite,
      partitioned,
      httpOnly: true,
    });
  }
}
