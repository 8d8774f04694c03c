import { JwtStateConfigError } from '../jwt-state.errors.js';
import {
  type JwtStateOptions,
  RefreshCookieOptions,
  RefreshOptions,
  RefreshTokenOptions,
} from '../jwt-state.options.js';
import { type Complete, checkChoice, complete, wholeSeconds } from './checks.js';
import { type Cookie, checkCookie } from './cookie.config.js';

export interface RefreshConfig {
  readonly path: string | false;
  /** Whether an access token that is still valid is exchanged, too. */
  readonly accessTokens: boolean;
  readonly tokens: RefreshTokensConfig | undefined;
}

export interface RefreshTokensConfig {
  readonly lifetime: number;
  /** Absent: in the body. */
  readonly cookie: Cookie | undefined;
  readonly allowNonAtomicStore: boolean;
}

export function resolveRefresh(options: Complete<JwtStateOptions>): RefreshConfig {
  const { path, accessTokens, tokens } = complete('refresh', RefreshOptions, options.refresh);
  checkChoice('refresh.accessTokens', accessTokens, [true, false, undefined]);
  if (tokens === false) return { path, accessTokens: accessTokens ?? true, tokens: undefined };
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
    path,
    // What was traded in has no refresh token, and must be renewed all the same.
    accessTokens: accessTokens ?? options.legacy !== undefined,
    tokens: {
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
