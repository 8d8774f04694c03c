import {
  checkAudience,
  checkChoice,
  checkCount,
  checkName,
  complete,
  wholeSeconds,
} from './config/checks.js';
import { type DeliveryConfig, resolveDelivery } from './config/delivery.config.js';
import { type DenyListConfig, resolveDenyList } from './config/deny-list.config.js';
import {
  type ForeignIssuerConfig,
  type LegacyConfig,
  resolveForeignIssuers,
  resolveLegacy,
} from './config/other-tokens.config.js';
import { type RefreshConfig, resolveRefresh } from './config/refresh.config.js';
import { toMilliseconds, toTimeout } from './duration.js';
import { JwtStateConfigError } from './jwt-state.errors.js';
import {
  AccessTokenOptions,
  type ClaimsSource,
  JwtStateOptions,
  RefreshOptions,
  ReissueOptions,
  SessionOptions,
  type StaticOptions,
} from './jwt-state.options.js';
import type { KeysOption } from './keys/key-options.js';
import type { ANY } from './token/token-rules.js';

/** The options, checked and complete; every duration in milliseconds. */
export interface JwtStateConfig {
  /** `undefined`: no tokens of its own. */
  readonly keys: KeysOption | undefined;
  readonly issuer: string | undefined;
  /** `'*'`: any, as for {@link issuer}. */
  readonly audience: readonly string[] | typeof ANY | undefined;
  readonly clockTolerance: number;
  readonly accessTokenLifetime: number;
  readonly verifiedTokens: number;
  readonly claims: ClaimsSource | undefined;
  readonly claimsTimeout: number;
  readonly denyList: DenyListConfig;
  readonly gracePeriod: number;
  readonly handlerTimeout: number;
  readonly expiry: 'keep' | 'renew';
  readonly delivery: DeliveryConfig;
  readonly sessionMaxAge: number;
  readonly refresh: RefreshConfig;
  readonly legacy: LegacyConfig | undefined;
  readonly foreignIssuers: readonly ForeignIssuerConfig[];
}

/**
 * Checks the options and fills in the defaults.
 *
 * @param fixed what shaped the module itself, and so did not come from a factory
 * @throws JwtStateConfigError
 */
export function resolveOptions(input: JwtStateOptions, fixed: StaticOptions = {}): JwtStateConfig {
  refuseStatic(input);
  const options = complete('JwtStateModule', JwtStateOptions, { ...input, ...given(fixed) });
  const accessToken = complete('accessToken', AccessTokenOptions, options.accessToken);
  const reissue = complete('reissue', ReissueOptions, options.reissue);
  const session = complete('session', SessionOptions, options.session);
  checkChoice('reissue.expiry', reissue.expiry, ['keep', 'renew']);
  if (options.claims !== undefined && typeof options.claims !== 'function') {
    throw new JwtStateConfigError('claims must be a function: (subject, previous) => claims.');
  }
  const accessTokenLifetime = wholeSeconds('accessToken.expiresIn', accessToken.expiresIn);
  const refresh = resolveRefresh(options);
  const delivery = resolveDelivery(options.delivery);
  if (delivery.usesCookie && delivery.cookie.name === refresh.tokens?.cookie?.name) {
    throw new JwtStateConfigError(
      'refresh.tokens.cookie has the name of delivery.cookie: choose another.',
    );
  }
  const sessionMaxAge = wholeSeconds('session.maxAge', session.maxAge);
  const issuer = checkName('issuer', options.issuer);
  const audience = checkAudience('audience', options.audience);
  const legacy = resolveLegacy(options.legacy, { issuer, audience }, sessionMaxAge);
  const foreignIssuers = resolveForeignIssuers(options.foreignIssuers, issuer);
  const lifetimes = new Map([
    ['accessToken.expiresIn', accessTokenLifetime],
    ['refresh.tokens.expiresIn', refresh.tokens?.lifetime ?? 0],
    ['legacy.expiresIn', legacy?.adoption.lifetime ?? 0],
    ...foreignIssuers.map(({ issuer: name, adoption }): [string, number] => [
      `expiresIn of ${name}`,
      adoption.lifetime,
    ]),
  ]);
  return {
    keys: checkKeys(options.keys, foreignIssuers),
    issuer,
    audience,
    clockTolerance: toMilliseconds('clockTolerance', options.clockTolerance, 0),
    accessTokenLifetime,
    verifiedTokens: checkCount('verifiedTokens', options.verifiedTokens),
    claims: options.claims,
    claimsTimeout: toTimeout('reissue.claimsTimeout', reissue.claimsTimeout),
    denyList: resolveDenyList(options, lifetimes),
    gracePeriod: toMilliseconds('reissue.gracePeriod', reissue.gracePeriod, 0),
    handlerTimeout: toMilliseconds('reissue.handlerTimeout', reissue.handlerTimeout),
    expiry: reissue.expiry,
    delivery,
    sessionMaxAge,
    refresh,
    legacy,
    foreignIssuers,
  };
}

/** The options that decide what the module consists of, before there is anything to inject. */
export function checkStaticOptions(options: StaticOptions) {
  const { path } = complete('refresh', RefreshOptions, options.refresh);
  checkChoice('guard', options.guard, ['global', undefined]);
  if (path !== false && (typeof path !== 'string' || path.trim() === '')) {
    throw new JwtStateConfigError('refresh.path must be a path, or false to leave the route out.');
  }
  return {
    guard: options.guard,
    refreshPath: path,
    jwksPath: jwksPathOf(options.jwks),
    hasDenyList: options.denyList !== false,
  };
}

function jwksPathOf(jwks: StaticOptions['jwks']): string | false {
  if (jwks === undefined || jwks === false) return false;
  if (jwks === true) return '.well-known/jwks.json';
  if (typeof jwks === 'string' && jwks.trim() !== '') return jwks;
  throw new JwtStateConfigError('jwks must be true, false, or a path.');
}

function refuseStatic(input: JwtStateOptions): void {
  for (const name of ['guard', 'refresh', 'jwks', 'denyList'] as const) {
    if (input?.[name] === undefined || (name === 'denyList' && input.denyList !== false)) continue;
    throw new JwtStateConfigError(
      `${name} came from the factory of forRootAsync, too late to shape the module. Put it beside ` +
        `the factory: forRootAsync({ ${name}: …, useFactory }).`,
    );
  }
}

/** Without the members that are undefined, which would hide those of the factory. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as T;
}

function checkKeys(
  keys: KeysOption | undefined,
  foreignIssuers: readonly ForeignIssuerConfig[],
): KeysOption | undefined {
  const isMissing = keys === undefined || (Array.isArray(keys) && keys.length === 0);
  if (keys !== null && (!isMissing || foreignIssuers.length > 0)) return keys;
  throw new JwtStateConfigError(
    "keys is missing: { algorithm: 'HS256', secret } or { algorithm: 'ES256', privateKey }.",
  );
}
