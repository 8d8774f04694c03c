import type { IssuedToken } from '../token/issued-token.js';
import type { VerifiedToken } from '../token/verified-token.js';
import type { CredentialOrigin } from './credential-reader.js';
import type { TokenCookie } from './token-cookie.js';

/** A response that will carry a token, unless it is taken back before the headers leave. */
export interface StagedDelivery {
  issued: IssuedToken | undefined;
  /** How the request carried its token, and so how the response does. */
  origin: CredentialOrigin;
  /** Where its refresh token goes by cookie, if it has one. */
  refreshByCookie: boolean;
  /** The client is to forget the cookies it has. */
  forget: boolean;
  /** The request brought several of this cookie: those of its former scopes are to be forgotten. */
  ambiguous: TokenCookie | undefined;
}

/** The responses of this process whose tokens have not left yet. */
export class StagedDeliveries {
  private readonly open = new Set<StagedDelivery>();

  add(delivery: StagedDelivery): void {
    this.open.add(delivery);
  }

  delete(delivery: StagedDelivery): void {
    this.open.delete(delivery);
  }

  /** A log-out must not hand out the token of the session it has just ended. */
  takeBack(isDead: (token: VerifiedToken) => boolean): void {
    for (const delivery of this.open) {
      if (delivery.issued && isDead(delivery.issued.claims)) delivery.issued = undefined;
    }
  }
}
