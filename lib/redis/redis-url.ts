import { JwtStateConfigError } from '../jwt-state.errors.js';

/**
 * Refuses a URL that @redis/client would refuse, or misread. The client and Node quote the whole URL in their
 * errors, and Nest prints those; no message of this function shows any part of it.
 *
 * @param name of the option
 * @param socket the option beside it
 */
export function checkRedisUrl(name: string, url: unknown, socket?: { tls?: unknown }): void {
  if (url === undefined) return;
  if (typeof url !== 'string' || url === '') {
    throw new JwtStateConfigError(
      `${name} must be a string such as redis://user:password@host:6379, and not empty.`,
    );
  }
  if (url.startsWith('unix:')) return; // the client's own form, and it quotes nothing
  if (!/^rediss?:\/\//.test(url)) {
    throw new JwtStateConfigError(`${name} must begin with redis:// or rediss:// (with TLS).`);
  }
  if (!isWellFormed(url)) {
    throw new JwtStateConfigError(
      `${name} is not a valid URL. It is not shown here, since it may hold a password. A password with ` +
        'special characters must be encoded: encodeURIComponent(password). Or leave it out of the URL and ' +
        'set `username` and `password`.',
    );
  }
  const isSecure = url.startsWith('rediss:');
  if (socket?.tls === undefined || socket.tls === isSecure) return;
  throw new JwtStateConfigError(
    `${name} begins with ${isSecure ? 'rediss://' : 'redis://'}, but socket.tls is ${socket.tls}. Use ` +
      'rediss:// for TLS, and leave socket.tls out.',
  );
}

function isWellFormed(url: string): boolean {
  try {
    const { username, password, pathname, search, hash } = new URL(url);
    decodeURIComponent(username);
    decodeURIComponent(password);
    // After an unencoded "#", "/" or "?" the rest of the password, and the host, count as the path.
    return !`${pathname}${search}${hash}`.includes('@');
  } catch {
    return false;
  }
}
