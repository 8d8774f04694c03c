import { type CustomDecorator, SetMetadata } from '@nestjs/common';

export const PUBLIC = Symbol.for('nestjs-jwt-state:public');

/**
 * Lets a route, or a whole controller, through the guard without a token.
 *
 * @example
 * ```ts
 * @Public()
 * @Post('login')
 * login() {}
 * ```
 *
 * @publicApi
 */
export const Public = (): CustomDecorator<symbol> => SetMetadata(PUBLIC, true);
