import { Controller, Get, Header, Inject, type Type } from '@nestjs/common';
import type { JSONWebKeySet } from 'jose';
import { Public } from '../decorators/public.decorator.js';
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

  @Get()
  // As long as a verifier may take to learn of a new key: publish a key that long before it signs.
  @Header('Cache-Control', 'public, max-age=300')
  @Header('Content-Type', 'application/jwk-set+json')
  read(): JSONWebKeySet {
    return this.jwks;
  }
}

/** The controller at its path; a path belongs to a class in Nest. */
export function jwksControllerAt(path: string): Type<JwksController> {
  @Controller(path)
  class Configured extends JwksController {}
  Object.defineProperty(Configured, 'name', { value: JwksController.name });
  return Configured;
}
