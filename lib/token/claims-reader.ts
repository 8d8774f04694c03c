import { Logger } from '@nestjs/common';
import { ClaimsInvalidError, ClaimsUnavailableError } from '../jwt-state.errors.js';
import type { ClaimsSource } from '../jwt-state.options.js';
import { jsonValue } from './json-value.js';
import { type Claims, RESERVED_CLAIMS, type VerifiedToken } from './verified-token.js';

/**
 * Asks the claims source, in time, and checks the answer. It never asks by itself: the caller has
 * read the marks first.
 */
export class ClaimsReader {
  private readonly logger = new Logger('JwtStateModule');

  constructor(
    private readonly source: ClaimsSource | undefined,
    private readonly timeout: number,
  ) {}

  get hasSource(): boolean {
    return this.source !== undefined;
  }

  /**
   * @returns `null`: this subject may hold no token any more
   * @throws ClaimsUnavailableError when the source throws or takes too long
   * @throws ClaimsInvalidError when it answers what a token cannot carry
   */
  async read(subject: string, previous: VerifiedToken | undefined): Promise<Claims | null> {
    const answer = await this.ask(subject, previous);
    if (answer === null) return null;
    if (answer !== undefined) return checkedClaims('claims source', answer);
    // A forgotten `return` must not end every session it meets.
    throw new ClaimsInvalidError('The claims source gave undefined; for "no token" it gives null.');
  }

  private async ask(subject: string, previous: VerifiedToken | undefined) {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`The claims source took longer than ${this.timeout} ms.`)),
        this.timeout,
      ).unref();
    });
    try {
      const asked = (async () => this.source?.(subject, previous))();
      return await Promise.race([asked, deadline]);
    } catch (cause) {
      this.logger.error('The claims source failed.', cause instanceof Error ? cause.stack : cause);
      throw new ClaimsUnavailableError('The current claims could not be read.', cause);
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Claims as they will come out of the token: in JSON, with no name that it cannot have.
 *
 * @param path what they are called where one of their values is named
 */
export function checkedClaims(origin: string, given: object, path = 'claims'): Claims {
  const claims = jsonValue(given, path);
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) {
    throw new ClaimsInvalidError(`The ${origin} must give an object of claims.`);
  }
  const reserved = Object.keys(claims).filter((name) => RESERVED_CLAIMS.has(name));
  if (reserved.length > 0) {
    throw new ClaimsInvalidError(
      `The ${origin} may not set ${reserved.join(', ')}: the module sets these itself.`,
    );
  }
  return signable(origin, claims as Claims);
}

/** Names that every object has: signing libraries, and whatever reads the token, trip over them. */
export function signable(origin: string, claims: Claims): Claims {
  const names = Object.keys(claims).filter((name) => name in Object.prototype);
  if (names.length === 0) return claims;
  throw new ClaimsInvalidError(
    `The ${origin} may not name a claim ${names.join(', ')}: that is the name of a member of every object.`,
  );
}
