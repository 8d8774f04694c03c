import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { VerifiedToken } from '../token/verified-token.js';

/**
 * The token of this request with the claims that are true now, or one of its claims; `undefined`
 * on a public route.
 *
 * @example
 * ```ts
 * @Get('me')
 * me(@CurrentToken() token: VerifiedToken, @CurrentToken('plan') plan: string) {}
 * ```
 *
 * @publicApi
 */
export const CurrentToken = createParamDecorator<string | undefined>(
  (claim, context: ExecutionContext) => {
    const token = context.switchToHttp().getRequest<{ user?: VerifiedToken }>().user;
    return claim === undefined ? token : token?.[claim];
  },
);
