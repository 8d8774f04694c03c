import {
  createParamDecorator,
  type ExecutionContext,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import type { AnyRequest } from '../delivery/raw-http.js';
import { requestToken } from '../guards/request-token.js';
import { WrongContextError } from '../jwt-state.errors.js';

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
export const CurrentToken: (
  claim?: string,
  ...pipes: (Type<PipeTransform> | PipeTransform)[]
) => ParameterDecorator = createParamDecorator<string | undefined>(
  (claim, context: ExecutionContext) => {
    if (context.getType() !== 'http') {
      throw new WrongContextError(
        '@CurrentToken() reads HTTP requests; use TokenService.verify().',
      );
    }
    // What the guard found, not `request.user`: anybody can put something there.
    const token = requestToken(context.switchToHttp().getRequest<AnyRequest>())?.current;
    return claim === undefined ? token : token?.[claim];
  },
);
