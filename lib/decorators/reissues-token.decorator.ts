import { applyDecorators, SetMetadata } from '@nestjs/common';
import { INTERCEPTORS_METADATA } from '@nestjs/common/constants.js';
import { LeavesReissuing } from '../guards/leaves-reissuing.js';
import {
  REISSUES_TOKEN,
  TokenReissueInterceptor,
} from '../interceptors/token-reissue.interceptor.js';
import type { ChangeScope } from '../reissue/commit-protocol.js';

export interface ReissuesTokenOptions {
  /**
   * What the handler changes: the `subject`'s state, so that the tokens of all its devices become
   * stale, or only claims kept by this `session`. Default: `'subject'`.
   */
  scope?: ChangeScope;
}

/**
 * For a handler that changes what the caller's token says. Before it runs, the caller's tokens are
 * marked stale; after it has succeeded, the response carries a new token with the new claims.
 *
 * The route must be guarded by `JwtStateGuard`.
 *
 * @example
 * ```ts
 * @Post('subscription')
 * @ReissuesToken()
 * upgrade(@CurrentToken() token: VerifiedToken, @Body() { plan }: Upgrade) {
 *   return this.users.setPlan(token.sub, plan);
 * }
 * ```
 * @throws DenyListUnavailableError before the handler, when the store cannot take the mark: nothing
 *   has changed; and after it, when the final mark was not confirmed
 *
 * @publicApi
 */
export function ReissuesToken(options: ReissuesTokenOptions = {}): MethodDecorator {
  return (target, key, descriptor) => {
    const metadata = SetMetadata(REISSUES_TOKEN, options.scope ?? 'subject');
    applyDecorators(metadata, LeavesReissuing())(target, key, descriptor);
    bindOutermost(target.constructor);
  };
}

/**
 * On the class, not the method, and in front of what a base class brought along: interceptors of a
 * class lie outside those of its methods, and a transaction must have ended before the truth is
 * read. Method decorators run before those of the class, so whatever these add lies inside, too.
 */
function bindOutermost(controller: object): void {
  const present: unknown[] = Reflect.getMetadata(INTERCEPTORS_METADATA, controller) ?? [];
  const others = present.filter((interceptor) => interceptor !== TokenReissueInterceptor);
  Reflect.defineMetadata(INTERCEPTORS_METADATA, [TokenReissueInterceptor, ...others], controller);
}
