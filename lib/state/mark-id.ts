import { v7 as uuidv7 } from 'uuid';

/** A new id, never used before: a UUIDv7 in 22 characters (base64url). */
export function newMarkId(now: number): string {
  return Buffer.from(uuidv7({ msecs: now }, new Uint8Array(16))).toString('base64url');
}
