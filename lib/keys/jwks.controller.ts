import { Controller, Get, Header, Inject, Res, type Type, VERSION_NEUTRAL } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { JSONWebKeySet } from 'jose';
import { Public } from '../decorators/public.decorator.js';
import type { AnyResponse } from '../delivery/raw-http.js';
import { JWKS } from '../jwt-state.tokens.js';

/**
 * `GET /.well-known/jwks.json`: the public keys of this service (RFC 7517 §5), for services that
 * only verify.
 *
 * @publicApi
 */
@Public()
@Controller()
export class JwksController {
  @Inject(JWKS) private readonly jwks!: JSONWebKeySet;
  @Inject(HttpAdapterHost) private readonly host!: HttpAdapterHost;

  @Get()
  // As long as a verifier may take to learn of a new key: publish a key that long before it signs.
  @Header('Cache-Control', 'public, max-age=300')
  @Header('Content-Type', 'application/jwk-set+json')
  read(@Res() response: AnyResponse): void {
    // Sent here, so that no interceptor of the application wraps it: its form is RFC 7517's.
    this.host.httpAdapter.reply(response, this.jwks);
  }
}

/** The controller at its path; a path belongs to a class in Nest. */
export function jwksControllerAt(path: string): Type<JwksController> {
  @Controller({ path, version: VERSION_NEUTRAL })
  class Configured extends JwksController {}
  Object.defineProperty(Configured, 'name', { value: JwksController.name });
  return Configured;
}
