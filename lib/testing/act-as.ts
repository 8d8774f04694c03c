import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';
import { CredentialReader } from '../delivery/credential-reader.js';
import { type AnyRequest, rawRequest } from '../delivery/raw-http.js';
import { setActingToken } from '../guards/request-token.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { ASSEMBLY } from '../jwt-state.tokens.js';
import type { Claims, VerifiedToken } from '../token/verified-token.js';
import { currentToken } from './current-token.js';
import { findPart, type TestedApplication } from './part-of.js';
import type { TestToken } from './test-token.js';
import { tokenFor } from './token-for.js';

/** Who makes the requests of an application, and how they say so. */
const callers = new WeakMap<ApplicationConfig, Caller>();

/**
 * From now on, requests without a token of their own are made by this user. Call it before
 * `app.init()` or `app.listen()`; after that, to go on as another user, or as `null`: nobody.
 *
 * With `JwtStateModule` in the application they carry a token of {@link tokenFor}, and everything else is
 * as it will be: the guard, the deny list, the new token of a `@ReissuesToken()` handler. Without it,
 * `@CurrentToken()` and `request.user` hold these claims, and `@ReissuesToken()` handlers just run.
 *
 * @param claims taken as they are; if they are left out, the claims source is asked
 * @example
 * ```ts
 * const module = await Test.createTestingModule({ controllers: [SubscriptionController] }).compile();
 * const app = module.createNestApplication();
 * await actAs(app, 'alice', { plan: 'free' });
 * await app.init();
 * await request(app.getHttpServer()).get('/me').expect(200);
 * ```
 * @returns the claims that handlers see; `undefined` for `null`
 * @throws JwtStateConfigError when the application has been initialized before the first call, or only
 *   verifies tokens
 * @throws SubjectRefusedError when the claims source gives this subject no token
 * @throws ClaimsInvalidError, DenyListUnavailableError
 * @publicApi
 */
export async function actAs<C extends Claims = Claims>(
  app: TestedApplication,
  subject: string | number,
  claims?: C,
): Promise<VerifiedToken<C>>;
export async function actAs(app: TestedApplication, subject: null): Promise<undefined>;
export async function actAs<C extends Claims>(
  app: TestedApplication,
  subject: string | number | null,
  claims?: C,
): Promise<VerifiedToken<C> | undefined> {
  const caller = callerOf(app);
  if (subject === null) return caller.is(undefined);
  if (!findPart(app, ASSEMBLY)) return caller.is(currentToken(subject, claims));
  const token = await tokenFor(app, subject, claims);
  caller.carries(token, findPart(app, CredentialReader) as CredentialReader);
  return token.claims;
}

function callerOf(app: TestedApplication): Caller {
  const config = findPart(app, ApplicationConfig) as ApplicationConfig;
  const known = callers.get(config);
  if (known) return known;
  if ((app as { isInitialized?: boolean }).isInitialized) {
    throw new JwtStateConfigError(
      'actAs(): the application is initialized, and its routes know their guards. Call actAs() before ' +
        'app.init() or app.listen() for the first time.',
    );
  }
  const caller = new Caller();
  // Before the guards that ask who it is.
  config.getGlobalGuards().unshift(caller);
  callers.set(config, caller);
  return caller;
}

/** Stands before all guards and lets every request pass; those that follow decide. */
class Caller implements CanActivate {
  private identify: (request: AnyRequest) => void = () => {};

  canActivate(context: ExecutionContext): true {
    if (context.getType() === 'http') this.identify(context.switchToHttp().getRequest());
    return true;
  }

  is<T extends VerifiedToken | undefined>(token: T): T {
    this.identify = (request) => {
      if (!token) return;
      setActingToken(request, token);
      request.user = token;
    };
    return token;
  }

  carries(token: TestToken, credentials: CredentialReader): void {
    const { authorization } = token.header;
    this.identify = (request) => {
      if (hasOwn(request, credentials)) return;
      const { headers, rawHeaders } = rawRequest(request);
      headers.authorization = authorization;
      rawHeaders.push('Authorization', authorization);
    };
  }
}

/** One of another kind or malformed is its own, too: the guard is to see it. */
function hasOwn(request: AnyRequest, credentials: CredentialReader): boolean {
  if (rawRequest(request).headers.authorization !== undefined) return true;
  try {
    return credentials.read(request) !== undefined;
  } catch {
    return true;
  }
}
