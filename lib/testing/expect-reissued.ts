import type { Claims } from '../token/verified-token.js';
import { compareClaims } from './compare-claims.js';
import { ExpectationError } from './expectation.error.js';
import { isUnread, summaryOf, type TestResponse, tokensIn } from './responses.js';
import { TestToken } from './test-token.js';

/**
 * The new token that a response brings, in a header, a cookie or a field of its body; `undefined`
 * where it brings none.
 *
 * @publicApi
 */
export function reissuedToken<C extends Claims = Claims>(
  response: TestResponse,
): TestToken<C> | undefined {
  const tokens = tokensIn(response);
  const [access, ...others] = tokens.filter(({ kind }) => kind === 'access');
  if (!access) return undefined;
  if (others.some(({ text }) => text !== access.text)) {
    throw new ExpectationError(reissuedToken, 'The response brings two different tokens.');
  }
  const refresh = tokens.find(({ kind }) => kind === 'refresh');
  return new TestToken<C>(access.text, {
    cookieName: access.cookieName,
    refreshToken: refresh?.text,
  });
}

/**
 * This response brings a new token, with these claims.
 *
 * @param claims those that matter, compared as `toMatchObject` does; matchers such as
 *   `expect.any(String)` work
 * @returns the new token, for the next request
 * @example
 * ```ts
 * const response = await request(server).post('/subscription').set(token.header).send({ plan: 'pro' });
 * const next = expectReissued(response, { plan: 'pro' });
 * await request(server).get('/report').set(next.header).expect(200);
 * ```
 * @throws ExpectationError
 * @publicApi
 */
export function expectReissued<C extends Claims = Claims>(
  response: TestResponse,
  claims?: Claims,
): TestToken<C> {
  const token = reissuedToken<C>(response);
  if (!token) {
    const hint = isUnread(response)
      ? ' The body of a fetch Response is not looked into: give { status, headers, body }.'
      : '';
    throw new ExpectationError(
      expectReissued,
      `The response (${summaryOf(response)}) was expected to bring a new token, and brings none.${hint}`,
    );
  }
  compareClaims(expectReissued, 'The new token', token.claims, claims);
  return token;
}

/**
 * This response brings no new token: the client keeps the one it has.
 *
 * @example
 * ```ts
 * expectNotReissued(await request(server).get('/me').set(token.header).expect(200));
 * ```
 * @throws ExpectationError
 * @publicApi
 */
export function expectNotReissued(response: TestResponse): void {
  const token = reissuedToken(response);
  if (!token) return;
  const { sub, sid, jti } = token.claims;
  throw new ExpectationError(
    expectNotReissued,
    `The response (${summaryOf(response)}) was expected to bring no new token, and brings one: ` +
      `sub ${sub}, sid ${sid}, jti ${jti}.`,
  );
}
