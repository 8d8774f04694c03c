import { readForm } from '../token/token-form.js';
import { ACCESS_TOKEN_TYPE, REFRESH_TOKEN_TYPE } from '../token/token-types.js';

/** `other`: a JWT that this module did not make, or a record of its deny list. */
export type TokenKind = 'access' | 'refresh' | 'other';

/** What a text says it is; `undefined`: no JWT. */
export function kindOf(text: string): TokenKind | undefined {
  try {
    const { type } = readForm(text);
    if (type === ACCESS_TOKEN_TYPE) return 'access';
    return type === REFRESH_TOKEN_TYPE ? 'refresh' : 'other';
  } catch {
    return undefined;
  }
}
