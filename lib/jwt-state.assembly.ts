import { JwtService } from '@nestjs/jwt';
import type { Clock } from './clock.js';
import type { Cookie } from './config/cookie.config.js';
import { CookieChoice } from './delivery/cookie-choice.js';
import { CredentialReader } from './delivery/credential-reader.js';
import { StagedDeliveries } from './delivery/staged-deliveries.js';
import { TokenCookie } from './delivery/token-cookie.js';
import { type TokenCookies, TokenDelivery } from './delivery/token-delivery.js';
import { DenyList } from './deny-list/deny-list.js';
import { DenyListKeys } from './deny-list/deny-list.keys.js';
import type { DenyListStore } from './deny-list/deny-list.store.js';
import { SuccessorCodec } from './deny-list/successor.js';
import { noEvents, TokenEvents } from './events/token-events.js';
import type { JwtStateConfig } from './jwt-state.config.js';
import type { Keys } from './keys/create-keys.js';
import type { VerificationKeys } from './keys/verification-keys.js';
import { RefreshCredentials } from './refresh/refresh-credentials.js';
import { RefreshTokens } from './refresh/refresh-tokens.js';
import { CommitProtocol } from './reissue/commit-protocol.js';
import { Reissuer } from './reissue/reissuer.js';
import { TokenComposer } from './reissue/token-composer.js';
import { TokenResolver } from './reissue/token-resolver.js';
import { SessionKeeper } from './session/session-keeper.js';
import { SessionRecords } from './session/session-records.js';
import { ClaimsReader } from './token/claims-reader.js';
import { TokenMint } from './token/token-mint.js';
import type { AccessProfiles } from './token/token-profile.js';
import { ANY, type TokenRules } from './token/token-rules.js';
import { TokenSigner } from './token/token-signer.js';
import { ACCESS_TOKEN_TYPE } from './token/token-types.js';
import { TokenVerifier } from './token/token-verifier.js';
import { VerifiedTokens } from './token/verified-tokens.js';
import { SessionStarter } from './token-service/session-starter.js';
import { TokenService } from './token-service/token.service.js';
import { TokenIssuer } from './token-service/token-issuer.js';

/** What a client can send back: servers refuse longer headers, browsers drop longer cookies. */
const HEADER_LIMIT = 8_192;
const COOKIE_LIMIT = 4_096;

/** What signing libraries write by default: `JWT`, or nothing. */
const LEGACY_TYPES = ['jwt', ''];

/** The outside world of the rules. */
export interface AssemblyParts {
  readonly config: JwtStateConfig;
  readonly keys: Keys;
  readonly store: DenyListStore;
  readonly clock: Clock;
  readonly events?: TokenEvents;
  /** Where the refresh route is; asked when a cookie is written. */
  readonly refreshPath?: () => string | undefined;
}

export type Assembly = ReturnType<typeof assemble>;

/** Puts the module's objects together. Needs no Nest: tests build the same thing in one call. */
export function assemble(parts: AssemblyParts) {
  const { config, keys, store, clock, events = new TokenEvents(clock) } = parts;
  const rules = rulesOf(config);
  const renew = config.expiry === 'renew';
  const jwt = new JwtService({});
  const checked = new VerifiedTokens(config.verifiedTokens);
  const verifier = new TokenVerifier(jwt, profilesOf(config, keys, rules), clock, checked);
  const signer = new TokenSigner(jwt, keys.signing);
  const mint = new TokenMint(signer, clock, {
    issuer: config.issuer === ANY ? undefined : config.issuer,
    audience: config.audience === ANY ? undefined : config.audience,
    lifetime: config.accessTokenLifetime,
    sessionMaxAge: config.sessionMaxAge,
    refreshTokens: config.refresh.tokens && {
      lifetime: config.refresh.tokens.lifetime,
      inBody: config.refresh.tokens.cookie === undefined,
      sizeLimit: sizeLimitOf(config.refresh.tokens.cookie),
    },
    inBody: !config.delivery.usesCookie,
    sizeLimit: sizeLimitOf(config.delivery.usesCookie ? config.delivery.cookie : undefined),
  });
  const scopeClaims = config.denyList.isOn ? config.denyList.claims : [];
  const claims = new ClaimsReader(config.claims, config.claimsTimeout);
  const names = new DenyListKeys(config.denyList.prefix);
  const denyList = new DenyList(
    store,
    names,
    new SuccessorCodec(signer, verifier, rules),
    clock,
    config.denyList.isOn ? events : noEvents,
    {
      onLoss: config.denyList.onLoss,
      claims: config.denyList.claims,
      longestLifetime: config.denyList.longestLifetime,
      clockTolerance: config.clockTolerance,
      gracePeriod: config.gracePeriod,
      reissueTimeout: config.handlerTimeout + config.claimsTimeout,
    },
  );
  const records = new SessionRecords(store, names, signer, verifier, () => denyList.keepFor);
  const sessions = new SessionKeeper(records, denyList, scopeClaims);
  const composer = new TokenComposer(denyList, claims, mint, clock);
  const reissuer = new Reissuer(
    denyList,
    composer,
    mint,
    // Another service on this store may have refresh tokens, and must know where the session is.
    config.refresh.tokens || scopeClaims.length > 0 ? sessions : undefined,
    events,
    scopeClaims,
  );
  const refreshTokens =
    config.refresh.tokens &&
    new RefreshTokens({
      verifier,
      denyList,
      composer,
      mint,
      sessions,
      events,
      scopeClaims,
    });
  const resolver = new TokenResolver(denyList, reissuer, composer, mint, events, {
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
  const starter = new SessionStarter(denyList, claims, mint, events, clock);
  const staged = new StagedDeliveries();
  const serviceParts = {
    verifier,
    starter,
    resolver,
    reissuer,
    refreshTokens,
    mint,
    claims,
    denyList,
    staged,
    scopeClaims,
    refreshesAccessTokens: config.refresh.accessTokens,
    renew,
  };
  const tokens = new TokenService(serviceParts);
  const issuer = config.denyList.isOn ? tokens : new TokenIssuer(serviceParts);
  const cookies = cookiesOf(config, parts.refreshPath);
  const accessChoice = new CookieChoice(
    (text) => verifier.verify(text),
    (token) => denyList.isSessionAlive(token),
  );
  const refreshChoice =
    refreshTokens &&
    new CookieChoice(
      (text) => verifier.verifyRefreshToken(text),
      (token) => refreshTokens.isAlive(token),
    );
  const credentials = new CredentialReader(cookies.access, accessChoice);
  const refreshCredentials = new RefreshCredentials(config.refresh, cookies.refresh, refreshChoice);
  const delivery = new TokenDelivery(config.delivery, staged, cookies);
  return {
    keys,
    verifier,
    mint,
    denyList,
    reissuer,
    refreshTokens,
    refreshCredentials,
    resolver,
    protocol,
    tokens,
    issuer,
    credentials,
    delivery,
    events,
  };
}

function cookiesOf(
  { delivery, refresh }: JwtStateConfig,
  refreshPath: AssemblyParts['refreshPath'],
): TokenCookies {
  return {
    access: delivery.usesCookie ? new TokenCookie(delivery.cookie) : undefined,
    refresh: refresh.tokens?.cookie && new TokenCookie(refresh.tokens.cookie, refreshPath),
  };
}

/** A cookie's limit covers its name, too. */
function sizeLimitOf(cookie: Cookie | undefined): number {
  return cookie ? COOKIE_LIMIT - `${cookie.name}=`.length : HEADER_LIMIT;
}

function rulesOf(config: JwtStateConfig): TokenRules {
  return {
    issuer: config.issuer,
    audience: config.audience,
    clockTolerance: config.clockTolerance,
    longestLifetime: config.denyList.longestLifetime,
    scopeClaims: config.denyList.claims,
  };
}

function profilesOf(config: JwtStateConfig, keys: Keys, rules: TokenRules): AccessProfiles {
  const { legacy, foreignIssuers } = config;
  return {
    own: { types: [ACCESS_TOKEN_TYPE], keys: keys.own, rules },
    legacy: legacy && {
      types: LEGACY_TYPES,
      keys: keys.legacy as VerificationKeys,
      rules: { ...rules, issuer: legacy.issuer, audience: legacy.audience },
      adoption: legacy.adoption,
    },
    foreign: new Map(
      foreignIssuers.map(({ issuer, audience, types, adoption }) => [
        issuer,
        {
          types,
          keys: keys.foreign.get(issuer) as VerificationKeys,
          rules: { ...rules, issuer, audience },
          adoption,
        },
      ]),
    ),
  };
}
