import { JwtStateConfigError } from '../jwt-state.errors.js';
import { type Complete, checkChoice, complete } from './checks.js';
import { FormerCookieOptions } from './cookie.options.js';

const PATH = /^\/[\x20-\x3a\x3c-\x7e]*$/;
const DOMAIN = /^\.?[\w-]+(\.[\w-]+)*$/;

/** What tells a browser's cookies from each other. */
export interface CookieScope {
  readonly name: string;
  /** Absent: that of the route. */
  readonly path: string | undefined;
  readonly domain: string | undefined;
  readonly partitioned: boolean;
}

/** Attributes of a cookie (RFC 6265 §4.1.2). */
export interface Cookie extends CookieScope {
  readonly secure: boolean;
  readonly sameSite: 'strict' | 'lax' | 'none';
  /** Whether it gets a `Max-Age`, where its log-in has not decided. */
  readonly persistent: boolean;
  /** What is deleted along with it. */
  readonly former: readonly CookieScope[];
}

type Given = Omit<Cookie, 'former'> & { readonly former: readonly FormerCookieOptions[] };

export function checkCookie(section: string, cookie: Given): Cookie {
  const { name, path, domain, secure, sameSite, partitioned, persistent } = cookie;
  checkChoice(`${section}.sameSite`, sameSite, ['strict', 'lax', 'none']);
  checkChoice(`${section}.secure`, secure, [true, false]);
  checkChoice(`${section}.persistent`, persistent, [true, false]);
  checkScope(section, cookie, secure);
  if (sameSite === 'none' && !secure) {
    throw new JwtStateConfigError(`${section}: sameSite 'none' is ignored without secure: true.`);
  }
  if (partitioned && !secure) {
    throw new JwtStateConfigError(`${section}: partitioned is refused without secure: true.`);
  }
  const former = resolveFormer(`${section}.former`, cookie);
  return { name, path, domain, secure, sameSite, partitioned, persistent, former };
}

function resolveFormer(section: string, cookie: Given): CookieScope[] {
  const { former } = cookie;
  if (!Array.isArray(former)) {
    throw new JwtStateConfigError(`${section} must be a list of { name, path, domain }.`);
  }
  return former.map((input: FormerCookieOptions, index) => {
    const place = `${section}[${index}]`;
    const given: Complete<FormerCookieOptions> = complete(place, FormerCookieOptions, input);
    const scope = { ...given, name: given.name ?? cookie.name, path: given.path ?? cookie.path };
    checkScope(place, scope, cookie.secure);
    const names = ['name', 'path', 'domain', 'partitioned'] as const;
    if (names.some((name) => scope[name] !== cookie[name])) return scope;
    throw new JwtStateConfigError(
      `${place} is the cookie itself. Name what was different: name, path, domain or partitioned.`,
    );
  });
}

function checkScope(section: string, scope: CookieScope, secure: boolean): void {
  const { name, path, domain, partitioned } = scope;
  if (!isToken(name)) {
    throw new JwtStateConfigError(`${section}.name: ${JSON.stringify(name)} is no name.`);
  }
  checkAttribute(`${section}.path`, path ?? '/', PATH, 'must start with "/" and hold no ";"');
  checkAttribute(`${section}.domain`, domain ?? 'none', DOMAIN, 'must be a host name');
  checkChoice(`${section}.partitioned`, partitioned, [true, false]);
  if (name.startsWith('__Secure-') && !secure) {
    throw new JwtStateConfigError(`${section}: the prefix __Secure- needs secure: true.`);
  }
  if (name.startsWith('__Host-') && !(secure && path === '/' && domain === undefined)) {
    throw new JwtStateConfigError(
      `${section}: the prefix __Host- needs secure: true, path: "/" and no domain.`,
    );
  }
}

function checkAttribute(name: string, value: unknown, form: RegExp, rule: string): void {
  if (typeof value === 'string' && form.test(value)) return;
  throw new JwtStateConfigError(`${name}: ${JSON.stringify(value)} ${rule}.`);
}

/** RFC 9110 §5.6.2: what names of headers and cookies are made of. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(value);
}
