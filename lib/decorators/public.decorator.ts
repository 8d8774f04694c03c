import { type CustomDecorator, SetMetadata } from '@nestjs/common';
import { JwtStateConfigError } from '../jwt-state.errors.js';

export const PUBLIC = Symbol.for('nestjs-jwt-state:public');

/** How a route lets requests without a token in; `false`: it does not. */
export type PublicAccess = 'open' | OptionalAccess | false;
/** What becomes of a token that would be refused. */
export type OptionalAccess = 'refuse' | 'ignore';

/** What `@Public()` takes. */
export interface PublicOptions {
  /**
   * `true`: a valid token is used, and a request without one runs too. `@CurrentToken()` and
   * `request.user` tell them apart. `false`: the route does not look at tokens at all.
   *
   * @default false
   */
  optional?: boolean;
  /**
   * With `optional`, what becomes of a token that is expired, revoked, superseded, malformed or not
   * ours: the request is answered as on a guarded route (`'refuse'`), so that the client refreshes;
   * or it runs as if it had none (`'ignore'`). A 503 stays a 503 either way.
   *
   * @default 'refuse'
   */
  invalid?: OptionalAccess;
}

/**
 * Lets a route, or a whole controller, through the guard without a token. What stands on a method
 * counts before what stands on its controller; `@Public(false)` asks for a token again.
 *
 * @param options `{ optional: true }` uses a token where there is one
 * @example
 * ```ts
 * @Public()
 * @Post('login')
 * login() {}
 *
 * @Public({ optional: true })
 * @Get('products')
 * products(@CurrentToken() token?: VerifiedToken) {
 *   return this.catalogue.pricesFor(token?.plan); // undefined: a guest
 * }
 * ```
 * @throws JwtStateConfigError for options that it does not know
 *
 * @publicApi
 */
export const Public = (options: PublicOptions | false = {}): CustomDecorator<symbol> =>
  SetMetadata(PUBLIC, accessOf(options));

function accessOf(options: PublicOptions | false): PublicAccess {
  if (options === false) return false;
  const { optional = false, invalid, ...unknown } = options;
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw new JwtStateConfigError(`@Public() knows no option ${name}.`);
  if (typeof optional !== 'boolean') {
    throw new JwtStateConfigError(
      `@Public(): optional must be true or false, not ${JSON.stringify(optional)}.`,
    );
  }
  if (invalid !== undefined && invalid !== 'refuse' && invalid !== 'ignore') {
    throw new JwtStateConfigError(
      `@Public(): invalid must be 'refuse' or 'ignore', not ${JSON.stringify(invalid)}.`,
    );
  }
  if (invalid !== undefined && !optional) {
    throw new JwtStateConfigError('@Public(): `invalid` needs `optional: true`.');
  }
  return optional ? (invalid ?? 'refuse') : 'open';
}
