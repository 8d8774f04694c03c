import type { KeyObject } from 'node:crypto';
import type { Candidate } from './token-verifier.js';
import type { VerifiedToken } from './verified-token.js';

/** A token whose signature was checked, and with what. */
export interface CheckedToken {
  readonly token: VerifiedToken;
  readonly candidate: Candidate;
  readonly key: KeyObject;
}

/**
 * Tokens whose signature was checked before, by their whole text. Bounded: of two generations the
 * older one is dropped when the younger is full, and what is used moves into the younger.
 */
export class VerifiedTokens {
  private young = new Map<string, CheckedToken>();
  private old = new Map<string, CheckedToken>();
  private readonly generation: number;

  /** @param size how many are kept at most; 0: none */
  constructor(size: number) {
    this.generation = Math.floor(size / 2);
  }

  get size(): number {
    return this.young.size + this.old.size;
  }

  get(text: string): CheckedToken | undefined {
    const found = this.young.get(text);
    if (found !== undefined) return found;
    const older = this.old.get(text);
    if (older !== undefined) this.add(text, older);
    return older;
  }

  add(text: string, checked: CheckedToken): void {
    if (this.generation === 0) return;
    if (this.young.size >= this.generation) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(text, checked);
  }

  delete(text: string): void {
    this.young.delete(text);
    this.old.delete(text);
  }
}
