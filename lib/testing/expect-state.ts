import { JwtStateError, type JwtStateErrorCode } from '../jwt-state.errors.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import { TokenIssuer } from '../token-service/token-issuer.js';
import { compareClaims } from './compare-claims.js';
import { ExpectationError } from './expectation.error.js';
import type { TestedApplication } from './part-of.js';
import { kindOf } from './token-kind.js';

/** A token, or what holds one: a `TestToken`, an `IssuedToken`. */
export type AnyToken = string | { readonly accessToken: string };

/**
 * The application would let a request with this token run as it is. A token that was replaced counts
 * as long as it leads to its successor, whose claims these are then.
 *
 * It is asked as `TokenService.verify()` asks, deny list included.
 *
 * @param claims those that matter
 * @returns what a handler would see
 * @throws ExpectationError
 * @publicApi
 */
export async function expectAlive<C extends Claims = Claims>(
  app: TestedApplication,
  token: AnyToken,
  claims?: Claims,
): Promise<VerifiedToken<C>> {
  const state = await stateOf<C>(app, token);
  if ('code' in state) {
    throw new ExpectationError(expectAlive, `The token was expected to be alive: ${told(state)}`);
  }
  compareClaims(expectAlive, 'The token', state.current, claims);
  return state.current;
}

/**
 * The state behind this token has changed since it was made: a service that can reissue replaces it at
 * its next request, others answer 401 `TOKEN_STALE`.
 *
 * @throws ExpectationError
 * @publicApi
 */
export async function expectStale(app: TestedApplication, token: AnyToken): Promise<void> {
  const state = await stateOf(app, token);
  if ('code' in state && state.code === 'TOKEN_STALE') return;
  throw new ExpectationError(expectStale, `The token was expected to be stale: ${told(state)}`);
}

/**
 * No request with this token runs any more, in this application.
 *
 * @param code why: `'TOKEN_REVOKED'`, `'TOKEN_SUPERSEDED'`, `'TOKEN_EXPIRED'`, …; any if it is left out
 * @example
 * ```ts
 * await request(server).post('/logout').set(token.header).expect(201);
 * await expectDead(app, token, 'TOKEN_REVOKED');
 * ```
 * @throws ExpectationError, also where the store does not answer and nobody can say
 * @publicApi
 */
export async function expectDead(
  app: TestedApplication,
  token: AnyToken,
  code?: JwtStateErrorCode,
): Promise<void> {
  const state = await stateOf(app, token);
  const isDead = 'code' in state && state.status === 401 && state.code !== 'TOKEN_STALE';
  if (isDead && (code === undefined || state.code === code)) return;
  const as = code === undefined ? '' : ` (${code})`;
  throw new ExpectationError(expectDead, `The token was expected to be dead${as}: ${told(state)}`);
}

type State<C extends Claims = Claims> = { readonly current: VerifiedToken<C> } | Refusal;

interface Refusal {
  readonly status: number;
  readonly code: JwtStateErrorCode;
  readonly message: string;
}

async function stateOf<C extends Claims>(
  app: TestedApplication,
  token: AnyToken,
): Promise<State<C>> {
  const text = typeof token === 'string' ? token : token.accessToken;
  refuseMistakes(text);
  const issuer = app.get<TokenIssuer<C>>(TokenIssuer, { strict: false });
  try {
    return { current: await issuer.verify(text) };
  } catch (error) {
    if (!(error instanceof JwtStateError)) throw error;
    const { code, message } = error;
    return { status: error.getStatus(), code, message };
  }
}

/** Both would pass for dead, and say nothing of the token that was meant. */
function refuseMistakes(text: string): void {
  const kind = kindOf(text);
  if (kind === undefined) throw new TypeError('This is no token: it has not the form of a JWT.');
  if (kind === 'refresh') {
    throw new TypeError(
      'This is a refresh token: exchange it at the refresh route to see its state.',
    );
  }
}

function told(state: State): string {
  if ('code' in state) return `${state.code}. ${state.message}`;
  return `it is alive, sub ${state.current.sub}, jti ${state.current.jti}.`;
}
