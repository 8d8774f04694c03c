import type { KeyObject } from 'node:crypto';
import type { Candidate } from './token-verifier.js';
import type { VerifiedToken } from './verified-token.js';

/** A token whose signature was checked, and with what. */
export interface CheckedToken {
  /** The whole of it: another signature under the same claims has not been checked. */
  readonly text: string;
  readonly token: VerifiedToken;
  readonly candidate: Candidate;
  readonly key: KeyObject;
}

/** So much of the end of a token is its place here: hashing all of it would cost more than the rest. */
const PLACE_LENGTH = 24;

/**
 * Tokens whose signature was checked before, by their whole text. Bounded: of two generations the
 * older one is dropped when the younger is full, and what is used moves into the younger.
 */
export class VerifiedTokens {
  private young = new Map<string, CheckedToken>();
  private old = new Map<string, CheckedToken>();

  /** @param generation how many are kept for sure, and never more than twice as many; 0: none */
  constructor(private readonly generation: number) {}

  get size(): number {
    return this.young.size + this.old.size;
  }

  get(text: string): CheckedToken | undefined {
    const place = text.slice(-PLACE_LENGTH);
    const found = this.young.get(place);
    if (found !== undefined) return found.text === text ? found : undefined;
    const older = this.old.get(place);
    if (older === undefined || older.text !== text) return undefined;
    this.add(older);
    return older;
  }

  add(checked: CheckedToken): void {
    if (this.generation === 0) return;
    if (this.young.size >= this.generation) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(checked.text.slice(-PLACE_LENGTH), checked);
  }

  delete(text: string): void {
    const place = text.slice(-PLACE_LENGTH);
    this.young.delete(place);
    this.old.delete(place);
  }
}
