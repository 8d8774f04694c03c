import type { ServerResponse } from 'node:http';
import onHeaders from 'on-headers';
import type { DeliveryConfig } from '../config/delivery.config.js';
import type { IssuedToken } from '../token/issued-token.js';
import { addToBody, hasPlaceForToken } from './body-field.js';
import type { CredentialOrigin } from './credential-reader.js';
import { type AnyResponse, rawResponse } from './raw-http.js';
import type { StagedDeliveries, StagedDelivery } from './staged-deliveries.js';
import type { CookieLife, TokenCookie } from './token-cookie.js';

/** Where tokens go by cookie. */
export interface TokenCookies {
  readonly access: TokenCookie | undefined;
  readonly refresh: TokenCookie | undefined;
}

/**
 * Brings a new token to the client. It is staged on the response and written in the moment the
 * headers leave: so it travels with whatever the request ends in (an error, a stream, a handler
 * that took `@Res()`), nothing set in between overwrites `no-store`, and until then it can be
 * replaced or taken back.
 *
 * @publicApi
 */
export class TokenDelivery {
  private readonly byResponse = new WeakMap<ServerResponse, StagedDelivery>();

  constructor(
    private readonly settings: DeliveryConfig,
    private readonly staged: StagedDeliveries,
    private readonly cookies: TokenCookies,
  ) {}

  /**
   * Puts a token into the response, for routes that issue one themselves: a log-in that sets the
   * cookies. What travels by cookie is not in the JSON of the issued token. Nothing else is needed
   * where no token travels by cookie: the log-in answers with the tokens in its body.
   *
   * @example
   * ```ts
   * @Public()
   * @Post('login')
   * async login(@Body() body: Credentials, @Res({ passthrough: true }) response: Response) {
   *   const login = await this.tokens.begin(body.username);
   *   await this.users.checkPassword(body.username, body.password);
   *   this.delivery.deliver(response, await this.tokens.issue(login));
   * }
   * ```
   */
  deliver(response: AnyResponse, issued: IssuedToken): void {
    this.stage(response, issued, this.settings.usesCookie ? 'cookie' : 'header');
  }

  /** Takes a staged token back and deletes the cookies, for log-outs. */
  clear(response: AnyResponse): void {
    const delivery = this.open(response);
    if (!delivery) return;
    delivery.issued = undefined;
    delivery.forget = true;
  }

  /**
   * @internal For a credential that came in the body, and is answered there. No cookie is set: a form
   * of another site could bring a token of its sender's, and plant his session in the browser.
   */
  stageInHeader(response: AnyResponse, issued: IssuedToken): void {
    issued.delivered();
    if (this.settings.header !== undefined) this.stage(response, issued, 'header', false);
  }

  /**
   * @internal For a request with cookies of one name among which nobody can choose: deletes those of
   * former scopes, so that the next request brings the other one alone.
   */
  dropFormer(response: AnyResponse, which: keyof TokenCookies): void {
    const delivery = this.open(response);
    if (delivery) delivery.ambiguous = this.cookies[which];
  }

  /** @internal Whether this answer has a place for a token. */
  canCarry(response: AnyResponse, answer: unknown): boolean {
    const { headersSent, destroyed, statusCode } = rawResponse(response);
    if (headersSent || destroyed) return false;
    const { header, usesCookie } = this.settings;
    return header !== undefined || usesCookie || hasPlaceForToken(answer, statusCode);
  }

  /** @internal */
  stage(
    response: AnyResponse,
    issued: IssuedToken,
    origin: CredentialOrigin,
    refreshByCookie = true,
  ): void {
    issued.delivered();
    const delivery = this.open(response);
    if (!delivery) return;
    delivery.issued = issued;
    delivery.origin = origin;
    delivery.refreshByCookie = refreshByCookie;
    delivery.forget = false;
  }

  /** `undefined`: it is too late for this response. */
  private open(response: AnyResponse): StagedDelivery | undefined {
    const raw = rawResponse(response);
    // A client that has gone away gets the token with its next request.
    if (raw.destroyed || raw.headersSent) return undefined;
    const present = this.byResponse.get(raw);
    if (present) return present;
    const delivery: StagedDelivery = {
      issued: undefined,
      origin: 'header',
      refreshByCookie: false,
      forget: false,
      ambiguous: undefined,
    };
    this.byResponse.set(raw, delivery);
    this.staged.add(delivery);
    onHeaders(raw, () => {
      this.staged.delete(delivery);
      if (delivery.issued) this.writeTokens(raw, delivery.issued, delivery);
      if (delivery.forget) this.deleteCookies(raw);
      else if (delivery.ambiguous) setCookies(raw, delivery.ambiguous.formerDeletions);
    });
    raw.once('close', () => this.staged.delete(delivery));
    const { body } = this.settings;
    if (body !== undefined) addToBody(response, body, delivery);
    return delivery;
  }

  private writeTokens(
    raw: ServerResponse,
    issued: IssuedToken,
    { origin, refreshByCookie }: StagedDelivery,
  ): void {
    raw.setHeader('Cache-Control', 'no-store');
    this.writeAccessToken(raw, issued, origin);
    const { refreshToken, refreshExpiresIn: maxAge = 0 } = issued;
    if (refreshToken === undefined || !refreshByCookie || !this.cookies.refresh) return;
    setCookies(raw, this.cookies.refresh.format(refreshToken, { maxAge, ...lifeOf(issued) }));
  }

  private writeAccessToken(
    raw: ServerResponse,
    issued: IssuedToken,
    origin: CredentialOrigin,
  ): void {
    const { header } = this.settings;
    const { access } = this.cookies;
    // The way the old one came, where that is on: a token kept out of the reach of scripts stays
    // there, and a client that sends a header collects no second credential in its cookie jar.
    if (access && (origin === 'cookie' || header === undefined)) {
      const life = { maxAge: issued.expiresIn, ...lifeOf(issued) };
      setCookies(raw, access.format(issued.accessToken, life));
    } else if (header !== undefined) {
      const isAuthorization = header.toLowerCase() === 'authorization';
      raw.setHeader(header, isAuthorization ? `Bearer ${issued.accessToken}` : issued.accessToken);
      appendToList(raw, 'Access-Control-Expose-Headers', header);
    }
  }

  private deleteCookies(raw: ServerResponse): void {
    for (const cookie of [this.cookies.access, this.cookies.refresh]) {
      if (cookie) setCookies(raw, cookie.deletions);
    }
  }
}

/** What the log-in has decided about its cookies. */
function lifeOf({ claims }: IssuedToken): Pick<CookieLife, 'persistent'> {
  return { persistent: claims.seen.login?.persistent };
}

/** Beside those of the handler. */
function setCookies(raw: ServerResponse, lines: readonly string[]): void {
  for (const line of lines) raw.appendHeader('Set-Cookie', line);
}

/** Adds to a comma-separated header without dropping what others put there. */
export function appendToList(raw: ServerResponse, name: string, item: string): void {
  const present = [raw.getHeader(name) ?? []].flat().join(', ');
  const items = present.split(',').map((part) => part.trim().toLowerCase());
  const wanted = item.toLowerCase();
  // A bare `*` covers every header but Authorization (Fetch standard).
  if (items.includes(wanted) || (items.includes('*') && wanted !== 'authorization')) return;
  raw.setHeader(name, present === '' ? item : `${present}, ${item}`);
}
