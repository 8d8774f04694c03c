import type { Cache } from 'cache-manager';
import { type Duration, toTimeout } from '../duration.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { DenyListOptions, type JwtStateOptions } from '../jwt-state.options.js';
import { RESERVED_CLAIMS } from '../token/verified-token.js';
import { type Complete, checkChoice, complete, wholeSeconds } from './checks.js';

export interface DenyListConfig {
  /** Off: nothing is kept, and tokens end by `exp` alone. */
  readonly isOn: boolean;
  readonly cache: Cache | undefined;
  readonly prefix: string;
  readonly lookupTimeout: number;
  readonly onUnavailable: 'reject' | 'accept';
  readonly onLoss: 'reject' | 'reissue' | 'accept';
  readonly longestLifetime: number;
  readonly claims: readonly string[];
}

/** @param lifetimes of all tokens that can be denied, in ms, by the option that says so */
export function resolveDenyList(
  options: Complete<JwtStateOptions>,
  lifetimes: ReadonlyMap<string, number>,
): DenyListConfig {
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
    // No revocation has to outlive anything where there are none.
    longestLifetime: isOn
      ? longestLifetimeOf(denyList.longestLifetime, lifetimes)
      : Number.POSITIVE_INFINITY,
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

function checkPrefix(value: string): string {
  if (typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)) return value;
  throw new JwtStateConfigError('denyList.prefix must be printable ASCII, not empty, no spaces.');
}

function checkClaimNames(names: readonly string[]): readonly string[] {
  if (!Array.isArray(names)) throw new JwtStateConfigError('denyList.claims must be an array.');
  for (const name of names) {
    if (!isScopeName(name)) {
      throw new JwtStateConfigError(
        `denyList.claims: ${JSON.stringify(name)} cannot be a scope; name claims of your own.`,
      );
    }
  }
  return [...new Set(names)];
}

/** Targets of `revoke()` that mean something else. */
const TARGETS = ['token', 'except'];

function isScopeName(name: unknown): boolean {
  if (typeof name !== 'string' || name === '' || TARGETS.includes(name)) return false;
  return !RESERVED_CLAIMS.has(name) && !(name in Object.prototype);
}
