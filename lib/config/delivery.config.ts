import { JwtStateConfigError } from '../jwt-state.errors.js';
import { CookieOptions, DeliveryOptions } from '../jwt-state.options.js';
import { complete } from './checks.js';
import { type Cookie, checkCookie, isToken } from './cookie.config.js';

export interface DeliveryConfig {
  readonly header: string | undefined;
  readonly cookie: Cookie & { readonly path: string };
  readonly body: string | undefined;
  readonly usesCookie: boolean;
}

export function resolveDelivery(input: DeliveryOptions | undefined): DeliveryConfig {
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

function resolveCookie(input: CookieOptions | undefined): DeliveryConfig['cookie'] {
  const cookie = complete('delivery.cookie', CookieOptions, input);
  const allowsHostPrefix = cookie.secure && cookie.path === '/' && cookie.domain === undefined;
  const name = cookie.name ?? (allowsHostPrefix ? '__Host-token' : 'token');
  return { ...checkCookie('delivery.cookie', { ...cookie, name }), path: cookie.path };
}
