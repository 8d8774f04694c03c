import type { Mark } from './marks.js';

/** What the store knows of one token, read in one round trip. */
export interface Records {
  /** The witness; absent in a store that is empty. */
  readonly epoch: string | undefined;
  readonly sessionRevoked: boolean;
  readonly token: TokenRecord | undefined;
  /** The successor, as the signed JWT it was stored as. */
  readonly next: string | undefined;
  readonly marks: readonly Mark[];
}

/** The record `jti:<jti>`. */
export type TokenRecord = { revoked: true } | SupersededRecord;

interface SupersededRecord {
  readonly revoked: false;
  readonly at: number;
  readonly successor: string;
  /** Whether the successor was used, of a refresh token. */
  readonly isUsed: boolean;
}

export function formatSuperseded(at: number, successor: string): string {
  return `${at} ${successor}`;
}

/**
 * The same, written in one step with `next`. It looks different, so that it can be taken back without
 * taking back what somebody has written who met `next` alone.
 */
export function formatSupersededAtOnce(at: number, successor: string): string {
  return `${formatSuperseded(at, successor)} +`;
}

/**
 * The record once the successor was used. `undefined`: it says so already, or something else.
 *
 * @param record what stands there
 */
export function formatUsed(record: string | undefined, successor: string): string | undefined {
  const known = record === undefined ? undefined : parseTokenRecord(record);
  if (!known || known.revoked || known.isUsed || known.successor !== successor) return undefined;
  return `${formatSuperseded(known.at, successor)} *`;
}

/** Unreadable counts as revoked: something was written about this token, and it was no pardon. */
export function parseTokenRecord(value: string): TokenRecord {
  const [at = '', successor, note] = value.split(' ');
  if (successor === undefined || !Number.isSafeInteger(Number(at))) {
    return { revoked: true };
  }
  return { revoked: false, at: Number(at), successor, isUsed: note === '*' };
}
