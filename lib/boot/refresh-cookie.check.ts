import { VersioningType } from '@nestjs/common';
import type { ApplicationConfig } from '@nestjs/core';
import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';

/**
 * A cookie for a path that is not the route's would never come back.
 *
 * @throws JwtStateConfigError
 */
export function refuseUnknownCookiePath(
  { refresh }: JwtStateConfig,
  application: ApplicationConfig,
): void {
  const { path, tokens } = refresh;
  if (!tokens?.cookie || tokens.cookie.path !== undefined) return;
  const isVersioned = application.getVersioning()?.type === VersioningType.URI;
  if (path !== false && !isVersioned) return;
  throw new JwtStateConfigError(
    'refresh.tokens.cookie needs a `path` here: the route of this module is versioned or left ' +
      'out, so nobody else knows where the cookie is to be sent.',
  );
}
