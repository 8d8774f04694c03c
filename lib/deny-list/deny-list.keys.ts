import { createHash } from 'node:crypto';
import type { Scope } from './scopes.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * The names of the records. `<prefix><kind>:<id>`, where the id has a fixed alphabet and length:
 * whatever a claim holds, it can neither meet another value nor leave its kind.
 */
export class DenyListKeys {
  /** The epoch of the store. */
  readonly witness: string;

  constructor(private readonly prefix: string) {
    this.witness = `${prefix}witness`;
  }

  /** The signed successor of a token. */
  next(jti: string): string {
    return `${this.prefix}next:${encodeId(jti)}`;
  }

  /** That a token is superseded. */
  jti(jti: string): string {
    return `${this.prefix}jti:${encodeId(jti)}`;
  }

  /** That a session is revoked. */
  sid(sid: string): string {
    return `${this.prefix}sid:${encodeId(sid)}`;
  }

  /** The claims that a session keeps. */
  session(sid: string): string {
    return `${this.prefix}session:${encodeId(sid)}`;
  }

  revoked(scope: Scope): string {
    return `${this.prefix}revoked:${scope.name}:${encodeId(scope.value)}`;
  }

  revokedOthers(sub: string): string {
    return `${this.prefix}revoked-others:${encodeId(sub)}`;
  }

  stale(scope: Scope): string {
    return `${this.prefix}stale:${scope.name}:${encodeId(scope.value)}`;
  }
}

/**
 * A UUID in 22 characters, anything else hashed in 43, both base64url. Short, because a revocation is
 * hardly more than its key. UTF-16 keeps every JavaScript string apart, UTF-8 would fold lone
 * surrogates into one.
 */
export function encodeId(id: string): string {
  if (UUID.test(id)) return Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64url');
  return createHash('sha256').update(Buffer.from(id, 'utf16le')).digest('base64url');
}
