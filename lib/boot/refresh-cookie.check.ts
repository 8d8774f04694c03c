import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { RefreshRoute } from '../refresh/refresh-route.js';

/**
 * A cookie for a path that is not the route's would never come back.
 *
 * @throws JwtStateConfigError
 */
export function refuseUnknownCookiePath({ refresh }: JwtStateConfig, route: RefreshRoute): void {
  const { tokens } = refresh;
  if (!tokens?.cookie || tokens.cookie.path !== undefined || route.path) return;
  const paths = route.paths.map((path) => JSON.stringify(path)).join(' and ');
  throw new JwtStateConfigError(
    paths === ''
      ? 'refresh.tokens.cookie.path is missing: refresh.path is false, so this module does not know ' +
          'where the cookie is to be sent. Set it to the path of your refresh route.'
      : `refresh.tokens.cookie.path is missing: the refresh route is ${paths}, and a cookie has one ` +
          'path, without parameters or wildcards. Set it to what all its requests begin with, such as "/".',
  );
}
