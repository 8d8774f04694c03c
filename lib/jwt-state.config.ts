import type { Cache } from 'cache-manager';
import { type Duration, toMilliseconds, toTimeout } from './duration.js';
import { JwtStateConfigError } from './jwt-state.errors.js';
import {
  AccessTokenOptions,
  type ClaimsSource,
  CookieOptions,
  DeliveryOptions,
  DenyListOptions,
  JwtStateOptions,
  RefreshOptions,
  ReissueOptions,
  SessionOptions,
  type StaticOptions,
} from './jwt-state.options.js';
import type { KeyOptions } from './token/signing-keys.js';
import { RESERVED_CLAIMS } from './token/verified-token.js';

/** The options, checked and complete; every duration in milliseconds. */
export interface JwtStateConfig {
  readonly keys: KeyOptions;
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | undefined;
  readonly clockTolerance: number;
  readonly accessTokenLifetime: number;
  readonly claims: ClaimsSource | undefined;
  readonly claimsTimeout: number;
  readonly denyList: {
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
    readonly cookie: Required<Omit<CookieOptions, 'domain'>> & { domain: string | undefined };
    readonly body: string | undefined;
    readonly usesCookie: boolean;
  };
  readonly sessionMaxAge: number;
}

/** Checks the options and fills in the defaults. @throws JwtStateConfigError */
export function resolveOptions(input: JwtStateOptions): JwtStateConfig {
  const options = complete('JwtStateModule', JwtStateOptions, input);
  const accessToken = complete('accessToken', AccessTokenOptions, options.accessToken);
  const reissue = complete('reissue', ReissueOptions, options.reissue);
  const session = complete('session', SessionOptions, options.session);
  refuseStatic(input);
  checkChoice('reissue.expiry', reissue.expiry, ['keep', 'renew']);
  if (options.keys === undefined || options.keys === null) {
    throw new JwtStateConfigError(
      "keys is missing: { algorithm: 'HS256', secret } or { algorithm: 'ES256', privateKey }.",
    );
  }
  if (options.claims !== undefined && typeof options.claims !== 'function') {
    throw new JwtStateConfigError('claims must be a function: (subject, previous) => claims.');
  }
  const accessTokenLifetime = wholeSeconds('accessToken.expiresIn', accessToken.expiresIn);
  return {
    keys: options.keys,
    issuer: checkName('issuer', options.issuer),
    audience: checkAudience(options.audience),
    clockTolerance: toMilliseconds('clockTolerance', options.clockTolerance, 0),
    accessTokenLifetime,
    claims: options.claims,
    claimsTimeout: toTimeout('reissue.claimsTimeout', reissue.claimsTimeout),
    denyList: resolveDenyList(options, accessTokenLifetime),
    gracePeriod: toMilliseconds('reissue.gracePeriod', reissue.gracePeriod, 0),
    handlerTimeout: toMilliseconds('reissue.handlerTimeout', reissue.handlerTimeout),
    expiry: reissue.expiry,
    delivery: resolveDelivery(options.delivery),
    sessionMaxAge: wholeSeconds('session.maxAge', session.maxAge),
  };
}

/** The options that decide what the module consists of, before there is anything to inject. */
export function checkStaticOptions(options: StaticOptions) {
  const { path } = complete('refresh', RefreshOptions, options.refresh);
  checkChoice('guard', options.guard, ['global', undefined]);
  if (path !== false && (typeof path !== 'string' || path.trim() === '')) {
    throw new JwtStateConfigError('refresh.path must be a path, or false to leave the route out.');
  }
  return { guard: options.guard, refreshPath: path };
}

function refuseStatic(input: JwtStateOptions): void {
  for (const name of ['guard', 'refresh'] as const) {
    if (input?.[name] === undefined) continue;
    throw new JwtStateConfigError(
      `${name} came from the factory of forRootAsync, too late to shape the module. Put it beside ` +
        `the factory: forRootAsync({ ${name}: …, useFactory }).`,
    );
  }
}

function resolveDenyList(options: JwtStateOptions, accessTokenLifetime: number) {
  const denyList = complete('denyList', DenyListOptions, options.denyList);
  checkChoice('denyList.onUnavailable', denyList.onUnavailable, ['reject', 'accept']);
  checkChoice('denyList.onLoss', denyList.onLoss, ['reject', 'reissue', 'accept']);
  if (denyList.onLoss === 'reissue' && !options.claims) {
    throw new JwtStateConfigError(
      "denyList.onLoss: 'reissue' needs the `claims` option: nothing else knows the true claims.",
    );
  }
  const longestLifetime =
    denyList.longestLifetime === undefined
      ? accessTokenLifetime
      : wholeSeconds('denyList.longestLifetime', denyList.longestLifetime);
  if (longestLifetime < accessTokenLifetime) {
    throw new JwtStateConfigError(
      'denyList.longestLifetime is shorter than accessToken.expiresIn: revocations would end ' +
        'before the tokens they deny.',
    );
  }
  return {
    cache: denyList.cache,
    prefix: checkPrefix(denyList.prefix),
    lookupTimeout: toTimeout('denyList.lookupTimeout', denyList.lookupTimeout),
    onUnavailable: denyList.onUnavailable,
    onLoss: denyList.onLoss,
    longestLifetime,
    claims: checkClaimNames(denyList.claims),
  };
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
  checkChoice('delivery.cookie.sameSite', cookie.sameSite, ['strict', 'lax', 'none']);
  const allowsHostPrefix = cookie.secure && cookie.path === '/' && cookie.domain === undefined;
  const name = cookie.name ?? (allowsHostPrefix ? '__Host-token' : 'token');
  if (!isToken(name)) {
    throw new JwtStateConfigError(`delivery.cookie.name: ${JSON.stringify(name)} is no name.`);
  }
  checkChoice('delivery.cookie.secure', cookie.secure, [true, false]);
  checkAttribute('delivery.cookie.path', cookie.path, /^\/[\x20-\x3a\x3c-\x7e]*$/);
  checkAttribute('delivery.cookie.domain', cookie.domain ?? 'none', /^\.?[\w-]+(\.[\w-]+)*$/);
  if (name.startsWith('__Secure-') && !cookie.secure) {
    throw new JwtStateConfigError('delivery.cookie: the prefix __Secure- needs secure: true.');
  }
  if (name.startsWith('__Host-') && !allowsHostPrefix) {
    throw new JwtStateConfigError(
      'delivery.cookie: the prefix __Host- needs secure: true, path: "/" and no domain.',
    );
  }
  if (cookie.sameSite === 'none' && !cookie.secure) {
    throw new JwtStateConfigError(
      "delivery.cookie: sameSite 'none' is ignored without secure: true.",
    );
  }
  return { ...cookie, name, domain: cookie.domain };
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

function checkAudience(value: string | readonly string[] | undefined) {
  if (value === undefined) return undefined;
  const list = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new JwtStateConfigError('audience must name at least one.');
  return list.map((item) => checkName('audience', item) as string);
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
