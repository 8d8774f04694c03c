import type { IncomingMessage } from 'node:http';
import { serialize } from 'cookie';
import type { Cookie } from '../config/cookie.config.js';

/** A cookie that carries a token: out of the reach of scripts. */
export class TokenCookie {
  /** @param defaultPath asked when it is written, since a global prefix may be set until then */
  constructor(
    private readonly attributes: Cookie,
    private readonly defaultPath: () => string | undefined = () => undefined,
  ) {}

  /** All of that name: a second one, planted from a sister domain, must not win by its place. */
  read({ headers }: IncomingMessage): string[] {
    const prefix = `${this.attributes.name}=`;
    return (headers.cookie ?? '')
      .split(';')
      .map((pair) => pair.trim())
      .filter((pair) => pair.startsWith(prefix) && pair.length > prefix.length)
      .map((pair) => pair.slice(prefix.length));
  }

  /** A `Set-Cookie` (RFC 6265 §4.1). @param maxAge in seconds */
  format(value: string, maxAge: number): string {
    const { name, path = this.defaultPath(), domain, ...attributes } = this.attributes;
    return serialize(name, value, {
      ...attributes,
      ...(domain !== undefined && { domain }),
      ...(path !== undefined && { path }),
      httpOnly: true,
      maxAge,
    });
  }

  /** The same, for a cookie that is to be forgotten. */
  get deletion(): string {
    return this.format('', 0);
  }
}
