import { JwtService } from '@nestjs/jwt';
import type { Clock } from './clock.js';
import { CredentialReader } from './delivery/credential-reader.js';
import { StagedDeliveries } from './delivery/staged-deliveries.js';
import { TokenDelivery } from './delivery/token-delivery.js';
import { DenyList } from './deny-list/deny-list.js';
import { DenyListKeys } from './deny-list/deny-list.keys.js';
import type { DenyListStore } from './deny-list/deny-list.store.js';
import { SuccessorCodec } from './deny-list/successor.js';
import type { JwtStateConfig } from './jwt-state.config.js';
import { CommitProtocol } from './reissue/commit-protocol.js';
import { Reissuer } from './reissue/reissuer.js';
import { TokenResolver } from './reissue/token-resolver.js';
import { ClaimsReader } from './token/claims-reader.js';
import type { SigningKeys } from './token/signing-keys.js';
import { TokenMint } from './token/token-mint.js';
import type { TokenRules } from './token/token-rules.js';
import { TokenSigner } from './token/token-signer.js';
import { TokenVerifier } from './token/token-verifier.js';
import { SessionStarter } from './token-service/session-starter.js';
import { TokenService } from './token-service/token.service.js';

/** What a client can send back: servers refuse longer headers, browsers drop longer cookies. */
const HEADER_LIMIT = 8_192;
const COOKIE_LIMIT = 4_096;

/** The outside world of the rules. */
export interface AssemblyParts {
  readonly config: JwtStateConfig;
  readonly keys: SigningKeys;
  readonly store: DenyListStore;
  readonly clock: Clock;
}

export type Assembly = ReturnType<typeof assemble>;

/** Puts the module's objects together. Needs no Nest: tests build the same thing in one call. */
export function assemble({ config, keys, store, clock }: AssemblyParts) {
  const rules = rulesOf(config, keys);
  const renew = config.expiry === 'renew';
  const jwt = new JwtService({
    secretOrKeyProvider: (type) =>
      (type === 0 ? keys.signingKey : keys.verificationKey) as NonNullable<typeof keys.signingKey>,
  });
  const verifier = new TokenVerifier(jwt, rules, clock);
  const signer = new TokenSigner(jwt, keys);
  const mint = new TokenMint(signer, clock, {
    issuer: config.issuer,
    audience: config.audience,
    lifetime: config.accessTokenLifetime,
    sessionMaxAge: config.sessionMaxAge,
    sizeLimit: sizeLimitOf(config.delivery),
  });
  const claims = new ClaimsReader(config.claims, config.claimsTimeout);
  const denyList = new DenyList(
    store,
    new DenyListKeys(config.denyList.prefix),
    new SuccessorCodec(signer, verifier, rules),
    clock,
    {
      onLoss: config.denyList.onLoss,
      claims: config.denyList.claims,
      longestLifetime: config.denyList.longestLifetime,
      clockTolerance: config.clockTolerance,
      gracePeriod: config.gracePeriod,
      reissueTimeout: config.handlerTimeout + config.claimsTimeout,
    },
  );
  const reissuer = new Reissuer(denyList, claims, mint, clock);
  const resolver = new TokenResolver(denyList, reissuer, claims, mint, {
    onUnavailable: config.denyList.onUnavailable,
    renew,
  });
  const protocol = new CommitProtocol({
    denyList,
    reissuer,
    claims,
    clock,
    settings: { handlerTimeout: config.handlerTimeout, renew },
  });
  const starter = new SessionStarter(denyList, claims, mint, clock);
  const staged = new StagedDeliveries();
  const tokens = new TokenService({
    verifier,
    starter,
    resolver,
    reissuer,
    mint,
    claims,
    denyList,
    staged,
    scopeClaims: config.denyList.claims,
    renew,
  });
  const credentials = new CredentialReader(
    config.delivery.usesCookie ? config.delivery.cookie.name : undefined,
  );
  const delivery = new TokenDelivery(config.delivery, staged);
  return {
    keys,
    verifier,
    mint,
    denyList,
    reissuer,
    resolver,
    protocol,
    tokens,
    credentials,
    delivery,
  };
}

/** A cookie's limit covers its name, too. */
function sizeLimitOf({ usesCookie, cookie }: JwtStateConfig['delivery']): number {
  return usesCookie ? COOKIE_LIMIT - `${cookie.name}=`.length : HEADER_LIMIT;
}

function rulesOf(config: JwtStateConfig, keys: SigningKeys): TokenRules {
  return {
    algorithm: keys.algorithm,
    kid: keys.kid,
    issuer: config.issuer,
    audience: config.audience,
    clockTolerance: config.clockTolerance,
    longestLifetime: config.denyList.longestLifetime,
    scopeClaims: config.denyList.claims,
  };
}
