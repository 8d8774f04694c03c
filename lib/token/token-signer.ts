import type { JwtService } from '@nestjs/jwt';
import { NoSigningKeyError } from '../jwt-state.errors.js';
import type { Key } from '../keys/key-material.js';

/** Turns a payload into a signed JWT of the given `typ`. */
export class TokenSigner {
  /** @param key absent in a service that only verifies */
  constructor(
    private readonly jwt: JwtService,
    private readonly key: Key | undefined,
  ) {}

  get canSign(): boolean {
    return this.key !== undefined;
  }

  sign(payload: object, type: string): string {
    if (!this.key) throw new NoSigningKeyError();
    const { algorithm, kid, signingKey } = this.key;
    return this.jwt.sign(payload, {
      secret: signingKey as never,
      algorithm,
      header: { alg: algorithm, typ: type, ...(kid === undefined ? {} : { kid }) },
    });
  }
}
