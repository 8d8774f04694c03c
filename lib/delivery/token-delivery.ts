import type { ServerResponse } from 'node:http';
import { Logger } from '@nestjs/common';
import { serialize } from 'cookie';
import onHeaders from 'on-headers';
import type { JwtStateConfig } from '../jwt-state.config.js';
import type { IssuedToken } from '../token/issued-token.js';
import { addToBody } from './body-field.js';
import type { CredentialOrigin } from './credential-reader.js';
import { type AnyResponse, rawResponse } from './raw-http.js';
import type { StagedDeliveries, StagedDelivery } from './staged-deliveries.js';

/**
 * Brings a new token to the client. It is staged on the response and written in the moment the
 * headers leave: so it travels with whatever the request ends in (an error, a stream, a handler
 * that took `@Res()`), nothing set in between overwrites `no-store`, and until then it can be
 * replaced or taken back.
 *
 * @publicApi
 */
export class TokenDelivery {
  private readonly logger = new Logger('JwtStateModule');
  private readonly byResponse = new WeakMap<ServerResponse, StagedDelivery>();

  constructor(
    private readonly settings: JwtStateConfig['delivery'],
    private readonly staged: StagedDeliveries,
  ) {}

  /** @internal Whether a token can reach the client whatever the response's body is. */
  get isIndependentOfBody(): boolean {
    return this.settings.header !== undefined || this.settings.usesCookie;
  }

  /**
   * Puts a token into the response, for routes that issue one themselves: a log-in that sets the
   * cookie. Nothing else is needed where the log-in answers with the token in its body.
   *
   * @example
   * ```ts
   * @Post('login')
   * async login(@Body() body: Credentials, @Res({ passthrough: true }) response: Response) {
   *   this.delivery.deliver(response, await this.tokens.issue(this.users.check(body).id));
   * }
   * ```
   */
  deliver(response: AnyResponse, issued: IssuedToken): void {
    this.stage(response, issued, this.settings.usesCookie ? 'cookie' : 'header');
  }

  /** Takes a staged token back and deletes the cookie, for log-outs. */
  clear(response: AnyResponse): void {
    const raw = rawResponse(response);
    const delivery = this.byResponse.get(raw);
    if (delivery) delivery.issued = undefined;
    if (!this.settings.usesCookie || raw.headersSent) return;
    raw.appendHeader('Set-Cookie', this.cookie('', 0));
  }

  /** @internal */
  canStillDeliver(response: AnyResponse): boolean {
    return !rawResponse(response).headersSent;
  }

  /** @internal */
  stage(response: AnyResponse, issued: IssuedToken, origin: CredentialOrigin): void {
    const raw = rawResponse(response);
    if (raw.headersSent) {
      this.logger.warn(
        'A token was reissued after the headers had been sent; the next request delivers it.',
      );
      return;
    }
    const delivery = this.byResponse.get(raw) ?? this.open(response, origin);
    delivery.issued = issued;
  }

  private open(response: AnyResponse, origin: CredentialOrigin): StagedDelivery {
    const raw = rawResponse(response);
    const delivery: StagedDelivery = { issued: undefined };
    this.byResponse.set(raw, delivery);
    this.staged.add(delivery);
    onHeaders(raw, () => {
      this.staged.delete(delivery);
      if (delivery.issued) this.writeHeaders(raw, delivery.issued, origin);
    });
    raw.once('close', () => this.staged.delete(delivery));
    const { body } = this.settings;
    if (body !== undefined && origin !== 'cookie') addToBody(response, body, delivery);
    return delivery;
  }

  private writeHeaders(raw: ServerResponse, issued: IssuedToken, origin: CredentialOrigin): void {
    const { header, usesCookie } = this.settings;
    raw.setHeader('Cache-Control', 'no-store');
    // A client that keeps its token out of the reach of scripts gets the new one the same way.
    if (header !== undefined && origin !== 'cookie') {
      const isAuthorization = header.toLowerCase() === 'authorization';
      raw.setHeader(header, isAuthorization ? `Bearer ${issued.accessToken}` : issued.accessToken);
      appendToList(raw, 'Access-Control-Expose-Headers', header);
    }
    if (usesCookie) {
      raw.appendHeader('Set-Cookie', this.cookie(issued.accessToken, issued.expiresIn));
    }
  }

  private cookie(value: string, maxAge: number): string {
    const { name, domain, ...attributes } = this.settings.cookie;
    return serialize(name, value, {
      ...attributes,
      ...(domain !== undefined && { domain }),
      httpOnly: true,
      maxAge,
    });
  }
}

/** Adds to a comma-separated header without dropping what others put there. */
function appendToList(raw: ServerResponse, name: string, item: string): void {
  const present = [raw.getHeader(name) ?? []].flat().join(', ');
  const items = present.split(',').map((part) => part.trim().toLowerCase());
  if (items.includes(item.toLowerCase()) || items.includes('*')) {
    // A bare `*` never covers Authorization (Fetch standard, "CORS-safelisted response-header").
    if (items.includes(item.toLowerCase()) || item.toLowerCase() !== 'authorization') return;
  }
  raw.setHeader(name, present === '' ? item : `${present}, ${item}`);
}
