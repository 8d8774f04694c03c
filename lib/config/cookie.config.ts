import { JwtStateConfigError } from '../jwt-state.errors.js';
import { checkChoice } from './checks.js';

/** Attributes of a cookie (RFC 6265 §4.1.2). */
export interface Cookie {
  readonly name: string;
  /** Absent: that of the route. */
  readonly path: string | undefined;
  readonly domain: string | undefined;
  readonly secure: boolean;
  readonly sameSite: 'strict' | 'lax' | 'none';
}

export function checkCookie(section: string, cookie: Cookie): Cookie {
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

function checkAttribute(name: string, value: unknown, form: RegExp): void {
  if (typeof value === 'string' && form.test(value)) return;
  throw new JwtStateConfigError(`${name}: ${JSON.stringify(value)} is not what it may be.`);
}

/** RFC 9110 §5.6.2: what names of headers and cookies are made of. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(value);
}
