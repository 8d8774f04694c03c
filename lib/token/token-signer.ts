import { JwtService } from '@nestjs/jwt';
import { NoSigningKeyError } from '../jwt-state.errors.js';
import type { SigningKeys } from './signing-keys.js';

/** Turns a payload into a signed JWT of the given `typ`. */
export class TokenSigner {
  constructor(
    private readonly jwt: JwtService,
    private readonly keys: SigningKeys,
  ) {}

  get canSign(): boolean {
    return this.keys.signingKey !== undefined;
  }

  sign(payload: object, type: string): string {
    const { algorithm, kid } = this.keys;
    if (!this.canSign) throw new NoSigningKeyError();
    return this.jwt.sign(payload, {
      algorithm,
      header: { alg: algorithm, typ: type, ...(kid === undefined ? {} : { kid }) },
    });
  }
}
