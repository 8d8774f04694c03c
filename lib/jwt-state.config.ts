import type { Cache } from 'cache-manager';
import { type Duration, toMilliseconds, toTimeout } from './duration.js';
import { JwtStateConfigError } from './jwt-state.errors.js';
import {
  AccessTokenOptions,
  type ClaimsSource,
  CookieOptions,
  DeliveryOptions,
  DenyListOptions,
  ForeignIssuerOptions,
  JwtStateOptions,
  LegacyOptions,
  RefreshCookieOptions,
  RefreshOptions,
  RefreshTokenOptions,
  ReissueOptions,
  SessionOptions,
  type StaticOptions,
} from './jwt-state.options.js';
import type { KeyOptions, KeysOption } from './keys/key-options.js';
import type { AdoptionSettings, SubjectOf } from './token/adopted-token.js';
import { RESERVED_CLAIMS } from './token/verified-token.js';

/** The options, checked and complete; every duration in milliseconds. */
export interface JwtStateConfig {
  /** `undefined`: no tokens of its own. */
  readonly keys: KeysOption | undefined;
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | undefined;
  readonly clockTolerance: number;
  readonly accessTokenLifetime: number;
  readonly claims: ClaimsSource | undefined;
  readonly claimsTimeout: number;
  readonly denyList: {
    /** Off: nothing is kept, and tokens end by `exp` alone. */
    readonly isOn: boolean;
    readonly cache: Cache | undefined;
    readonly prefix: string;
    readonly lookupTimeout: number;
    readonly onUnavailable: 'reject' | 'accept';
    readonly onLoss: 'reject' | 'reissue' | 'accept';
    readonly longestLifetime: number;
    readonly claims: readonly string[];
  };
  readonly gracePeriod: number;
  readonly handlerTimeout: number;
  readonly expiry: 'keep' | 'renew';
  readonly delivery: {
    readonly header: string | undefined;
    readonly cookie: Cookie & { readonly path: string };
    readonly body: string | undefined;
    readonly usesCookie: boolean;
  };
  readonly sessionMaxAge: number;
  readonly refreshPath: string | false;
  readonly refreshTokens: RefreshTokensConfig | undefined;
  readonly legacy: LegacyConfig | undefined;
  readonly foreignIssuers: readonly ForeignIssuerConfig[];
}

export interface RefreshTokensConfig {
  readonly lifetime: number;
  /** Absent: in the body. */
  readonly cookie: Cookie | undefined;
  readonly allowNonAtomicStore: boolean;
}

/** Attributes of a cookie (RFC 6265 §4.1.2). */
export interface Cookie {
  readonly name: string;
  /** Absent: that of the route. */
  readonly path: string | undefined;
  readonly domain: string | undefined;
  readonly secure: boolean;
  readonly sameSite: 'strict' | 'lax' | 'none';
}

/** What is demanded of the parties of tokens that this module did not make. */
interface AdoptedParties {
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | undefined;
}

export interface LegacyConfig extends AdoptedParties {
  readonly keys: KeyOptions | undefined;
  readonly adoption: AdoptionSettings;
}

export interface ForeignIssuerConfig extends AdoptedParties {
  readonly issuer: string;
  readonly keys: KeysOption;
  readonly types: readonly string[];
  readonly adoption: AdoptionSettings;
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
  const { refreshPath, refreshTokens } = resolveRefresh(options);
  const issuer = checkName('issuer', options.issuer);
  const audience = checkAudience('audience', options.audience);
  const legacy = resolveLegacy(options.legacy, { issuer, audience }, accessTokenLifetime);
  const foreignIssuers = resolveForeignIssuers(options.foreignIssuers, issuer);
  const lifetimes = new Map([
    ['accessToken.expiresIn', accessTokenLifetime],
    ['refresh.tokens.expiresIn', refreshTokens?.lifetime ?? 0],
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
    claims: options.claims,
    claimsTimeout: toTimeout('reissue.claimsTimeout', reissue.claimsTimeout),
    denyList: resolveDenyList(options, lifetimes),
    gracePeriod: toMilliseconds('reissue.gracePeriod', reissue.gracePeriod, 0),
    handlerTimeout: toMilliseconds('reissue.handlerTimeout', reissue.handlerTimeout),
    expiry: reissue.expiry,
    delivery: resolveDelivery(options.delivery),
    sessionMaxAge: wholeSeconds('session.maxAge', session.maxAge),
    refreshPath,
    refreshTokens,
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

function resolveRefresh(options: Complete<JwtStateOptions>) {
  const { path, tokens } = complete('refresh', RefreshOptions, options.refresh);
  if (tokens === false) return { refreshPath: path, refreshTokens: undefined };
  if (options.denyList === false) {
    throw new JwtStateConfigError(
      'refresh.tokens need a deny list: it remembers which of them were used. Take one of the two out.',
    );
  }
  const { expiresIn, cookie, allowNonAtomicStore } = complete(
    'refresh.tokens',
    RefreshTokenOptions,
    tokens,
  );
  checkChoice('refresh.tokens.allowNonAtomicStore', allowNonAtomicStore, [true, false]);
  if (typeof cookie !== 'boolean' && (typeof cookie !== 'object' || cookie === null)) {
    throw new JwtStateConfigError('refresh.tokens.cookie must be true, false, or its attributes.');
  }
  return {
    refreshPath: path,
    refreshTokens: {
      lifetime: wholeSeconds('refresh.tokens.expiresIn', expiresIn),
      cookie: cookie === false ? undefined : resolveRefreshCookie(cookie === true ? {} : cookie),
      allowNonAtomicStore,
    },
  };
}

function resolveRefreshCookie(input: RefreshCookieOptions): Cookie {
  const cookie = complete('refresh.tokens.cookie', RefreshCookieOptions, input);
  const name = cookie.name ?? (cookie.secure ? '__Secure-refresh-token' : 'refresh-token');
  return checkCookie('refresh.tokens.cookie', { ...cookie, name });
}

function resolveLegacy(
  input: LegacyOptions | 'reissue' | undefined,
  own: AdoptedParties,
  accessTokenLifetime: number,
): LegacyConfig | undefined {
  if (input === undefined) return undefined;
  if (typeof input === 'string') checkChoice('legacy', input, ['reissue']);
  const options: LegacyOptions = typeof input === 'string' ? {} : input;
  const legacy = complete('legacy', LegacyOptions, options);
  const { expiresIn } = legacy;
  return {
    keys: legacy.keys,
    issuer: checkName('legacy.issuer', legacy.issuer) ?? own.issuer,
    audience: checkAudience('legacy.audience', legacy.audience) ?? own.audience,
    adoption: {
      origin: 'legacy',
      subject: checkSubject('legacy.subject', legacy.subject),
      lifetime:
        expiresIn === undefined ? accessTokenLifetime : wholeSeconds('legacy.expiresIn', expiresIn),
      demands: { issuer: legacy.issuer !== undefined, audience: legacy.audience !== undefined },
    },
  };
}

function resolveForeignIssuers(
  input: readonly ForeignIssuerOptions[],
  own: string | undefined,
): ForeignIssuerConfig[] {
  if (!Array.isArray(input)) throw new JwtStateConfigError('foreignIssuers must be an array.');
  const issuers = input.map((one, index) => resolveForeignIssuer(`foreignIssuers[${index}]`, one));
  const names = [own, ...issuers.map(({ issuer }) => issuer)];
  if (new Set(names).size === names.length) return issuers;
  throw new JwtStateConfigError(
    'foreignIssuers: an issuer is named twice, or is this service itself (`issuer`).',
  );
}

function resolveForeignIssuer(section: string, input: ForeignIssuerOptions): ForeignIssuerConfig {
  const options = complete(section, ForeignIssuerOptions, input);
  for (const name of ['issuer', 'audience', 'keys', 'expiresIn'] as const) {
    if (options[name] !== undefined) continue;
    throw new JwtStateConfigError(
      `${section}.${name} is missing. An issuer needs issuer, audience, keys and expiresIn.`,
    );
  }
  const { types } = options;
  if (!Array.isArray(types) || !types.every((type) => typeof type === 'string' && type !== '')) {
    throw new JwtStateConfigError(`${section}.types must be a list of values of \`typ\`.`);
  }
  return {
    issuer: checkName(`${section}.issuer`, options.issuer) as string,
    audience: checkAudience(`${section}.audience`, options.audience),
    keys: options.keys,
    types: types.map((type: string) => type.toLowerCase()),
    adoption: {
      origin: 'foreign',
      subject: checkSubject(`${section}.subject`, options.subject),
      lifetime: wholeSeconds(`${section}.expiresIn`, options.expiresIn),
      demands: { issuer: true, audience: true },
    },
  };
}

function checkSubject(name: string, subject: SubjectOf | undefined): SubjectOf {
  if (subject === undefined) return ({ sub }) => sub as string | number | undefined;
  if (typeof subject === 'function') return subject;
  throw new JwtStateConfigError(`${name} must be a function: (claims) => subject.`);
}

function resolveDenyList(
  options: Complete<JwtStateOptions>,
  lifetimes: ReadonlyMap<string, number>,
): JwtStateConfig['denyList'] {
  const isOn = options.denyList !== false;
  const denyList = complete(
    'denyList',
    DenyListOptions,
    options.denyList === false ? {} : options.denyList,
  );
  checkChoice('denyList.onUnavailable', denyList.onUnavailable, ['reject', 'accept']);
  checkChoice('denyList.onLoss', denyList.onLoss, ['reject', 'reissue', 'accept']);
  if (denyList.onLoss === 'reissue' && !options.claims) {
    throw new JwtStateConfigError(
      "denyList.onLoss: 'reissue' needs the `claims` option: nothing else knows the true claims.",
    );
  }
  return {
    isOn,
    cache: denyList.cache,
    prefix: checkPrefix(denyList.prefix),
    lookupTimeout: toTimeout('denyList.lookupTimeout', denyList.lookupTimeout),
    onUnavailable: denyList.onUnavailable,
    // Nothing is kept, so nothing can get lost.
    onLoss: isOn ? denyList.onLoss : 'accept',
    longestLifetime: longestLifetimeOf(denyList.longestLifetime, lifetimes),
    claims: checkClaimNames(denyList.claims),
  };
}

function longestLifetimeOf(
  option: Duration | undefined,
  lifetimes: ReadonlyMap<string, number>,
): number {
  if (option === undefined) return Math.max(...lifetimes.values());
  const longest = wholeSeconds('denyList.longestLifetime', option);
  const [tooLong] = [...lifetimes].filter(([, lifetime]) => lifetime > longest);
  if (!tooLong) return longest;
  throw new JwtStateConfigError(
    `denyList.longestLifetime is shorter than ${tooLong[0]}: revocations would end before the ` +
      'tokens they deny.',
  );
}

function resolveDelivery(input: DeliveryOptions | undefined): JwtStateConfig['delivery'] {
  const delivery = complete('delivery', DeliveryOptions, input);
  const usesCookie = delivery.cookie !== false && delivery.cookie !== undefined;
  const header = delivery.header ?? (usesCookie ? false : 'Authorization');
  if (typeof delivery.cookie !== 'boolean' && typeof delivery.cookie !== 'object') {
    throw new JwtStateConfigError('delivery.cookie must be true, false, or its attributes.');
  }
  if (header !== false && !isToken(header)) {
    throw new JwtStateConfigError(`delivery.header: ${JSON.stringify(header)} is no header name.`);
  }
  if (delivery.body !== false && (typeof delivery.body !== 'string' || delivery.body === '')) {
    throw new JwtStateConfigError('delivery.body must be the name of a field, or false.');
  }
  if (header === false && !usesCookie && delivery.body === false) {
    throw new JwtStateConfigError(
      'delivery: header, cookie and body are all off; no client would ever get its new token.',
    );
  }
  return {
    header: header === false ? undefined : header,
    cookie: resolveCookie(typeof delivery.cookie === 'object' ? delivery.cookie : undefined),
    body: delivery.body === false ? undefined : delivery.body,
    usesCookie,
  };
}

function resolveCookie(input: CookieOptions | undefined): JwtStateConfig['delivery']['cookie'] {
  const cookie = complete('delivery.cookie', CookieOptions, input);
  const allowsHostPrefix = cookie.secure && cookie.path === '/' && cookie.domain === undefined;
  const name = cookie.name ?? (allowsHostPrefix ? '__Host-token' : 'token');
  return { ...checkCookie('delivery.cookie', { ...cookie, name }), path: cookie.path };
}

function checkCookie(section: string, cookie: Cookie): Cookie {
  const { name, path, domain, secure, sameSite } = cookie;
  checkChoice(`${section}.sameSite`, sameSite, ['strict', 'lax', 'none']);
  if (!isToken(name)) {
    throw new JwtStateConfigError(`${section}.name: ${JSON.stringify(name)} is no name.`);
  }
  checkChoice(`${section}.secure`, secure, [true, false]);
  checkAttribute(`${section}.path`, path ?? '/', /^\/[\x20-\x3a\x3c-\x7e]*$/);
  checkAttribute(`${section}.domain`, domain ?? 'none', /^\.?[\w-]+(\.[\w-]+)*$/);
  if (name.startsWith('__Secure-') && !secure) {
    throw new JwtStateConfigError(`${section}: the prefix __Secure- needs secure: true.`);
  }
  if (name.startsWith('__Host-') && !(secure && path === '/' && domain === undefined)) {
    throw new JwtStateConfigError(
      `${section}: the prefix __Host- needs secure: true, path: "/" and no domain.`,
    );
  }
  if (sameSite === 'none' && !secure) {
    throw new JwtStateConfigError(`${section}: sameSite 'none' is ignored without secure: true.`);
  }
  return { name, path, domain, secure, sameSite };
}

/** RFC 9110 §5.6.2: what names of headers and cookies are made of. */
function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(value);
}

function checkAttribute(name: string, value: unknown, form: RegExp): void {
  if (typeof value === 'string' && form.test(value)) return;
  throw new JwtStateConfigError(`${name}: ${JSON.stringify(value)} is not what it may be.`);
}

type Complete<T> = { [K in keyof T]-?: T[K] };

/** Lays the given values over the defaults; a name without a default does not exist. */
function complete<T extends object>(
  section: string,
  Defaults: new () => T,
  input: T | undefined,
): Complete<T> {
  const result = new Defaults() as Record<string, unknown>;
  if (input !== undefined && (typeof input !== 'object' || input === null)) {
    throw new JwtStateConfigError(`${section} must be an object.`);
  }
  for (const [name, value] of Object.entries(input ?? {})) {
    if (!Object.hasOwn(result, name)) {
      throw new JwtStateConfigError(
        `${section}: there is no option ${JSON.stringify(name)}. It knows: ${Object.keys(result).join(', ')}.`,
      );
    }
    if (value !== undefined) result[name] = value;
  }
  return result as Complete<T>;
}

function checkChoice(name: string, value: unknown, choices: readonly unknown[]): void {
  if (choices.includes(value)) return;
  const known = choices.filter((choice) => choice !== undefined).map((c) => JSON.stringify(c));
  throw new JwtStateConfigError(
    `${name}: ${JSON.stringify(value)} is not one of ${known.join(', ')}.`,
  );
}

/** Tokens count in seconds: a fraction would round a promise away. */
function wholeSeconds(name: string, value: Duration): number {
  const milliseconds = toMilliseconds(name, value, 1000);
  if (milliseconds % 1000 !== 0) {
    throw new JwtStateConfigError(`${name}: ${JSON.stringify(value)} is not in whole seconds.`);
  }
  return milliseconds;
}

/** An empty string would switch the check off in most libraries: refused. */
function checkName(name: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new JwtStateConfigError(`${name} must be a string that is not empty.`);
}

function checkAudience(name: string, value: string | readonly string[] | undefined) {
  if (value === undefined) return undefined;
  const list = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new JwtStateConfigError(`${name} must name at least one.`);
  return list.map((item) => checkName(name, item) as string);
}

function checkPrefix(value: string): string {
  if (typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)) return value;
  throw new JwtStateConfigError('denyList.prefix must be printable ASCII, not empty, no spaces.');
}

function checkClaimNames(names: readonly string[]): readonly string[] {
  if (!Array.isArray(names)) throw new JwtStateConfigError('denyList.claims must be an array.');
  for (const name of names) {
    if (typeof name !== 'string' || name === '' || RESERVED_CLAIMS.has(name) || name === 'except') {
      throw new JwtStateConfigError(
        `denyList.claims: ${JSON.stringify(name)} cannot be a scope; name claims of your own.`,
      );
    }
  }
  return [...new Set(names)];
}
