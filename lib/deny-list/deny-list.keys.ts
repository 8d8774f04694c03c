import { createHash } from 'node:crypto';
import type { Scope } from './scopes.js';

/** A refresh token is replaced at every use, and its successor stays findable while it lives. */
export type TokenKind = 'access' | 'refresh';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * The names of the records: `<prefix><kind>:<id>`, and `<prefix>r:<kind>:<id>` of a refresh token. The id
 * has a fixed alphabet and length: whatever a claim holds, it can neither meet another value nor leave
 * its kind.
 */
export class DenyListKeys {
  /** The epoch of the store. */
  readonly witness: string;

  constructor(readonly prefix: string) {
    this.witness = `${prefix}witness`;
  }

  /**
   * How the names begin that a guard asks for with every request. No other record is worth a copy in each
   * process, or news of every change: those of refresh tokens, and what sessions keep (`session:`), are by
   * far the most, and an exchange reads them from the store itself.
   */
  get asked(): readonly string[] {
    const kinds = ['next:', 'jti:', 'sid:', 'revoked', 'stale:'];
    return [...kinds.map((kind) => `${this.prefix}${kind}`), this.witness];
  }

  /** The signed successor of a token. */
  next(jti: string, of: TokenKind): string {
    return `${this.prefix}${beginning(of)}next:${encodeId(jti)}`;
  }

  /** That a token is superseded. */
  jti(jti: string, of: TokenKind): string {
    return `${this.prefix}${beginning(of)}jti:${encodeId(jti)}`;
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

function beginning(of: TokenKind): string {
  return of === 'refresh' ? 'r:' : '';
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
