import { JwtStateError } from '../jwt-state.errors.js';

/** The token that a refusal is about: its text, or the session of one that was verified. */
export type RefusedToken = { readonly text: unknown } | { readonly sid: string };

/** Beside the errors and not in them: no token may be found in an error. */
const refused = new WeakMap<JwtStateError, RefusedToken>();

/** Remembers what the refusals of `work` are about: see `answerTo`. */
export async function about<T>(token: RefusedToken, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isRefusal(error)) refused.set(error, token);
    throw error;
  }
}

/** `undefined`: it is no refusal of a token that the application has given. */
export function refusedToken(error: JwtStateError): RefusedToken | undefined {
  return refused.get(error);
}

/** Whether an error says that a token is of no use. */
export function isRefusal(error: unknown): error is JwtStateError {
  return error instanceof JwtStateError && error.getStatus() === 401;
}
