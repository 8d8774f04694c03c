import { Injectable, Logger } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { PUBLIC } from '../decorators/public.decorator.js';
import { isOurGuard } from '../guards/our-guard.js';
import { tokensOfClass } from './dependencies.js';
import { GuardedRoutes } from './guarded-routes.js';
import { classOf, passportJwtGuard } from './passport-guards.js';

/** A log line is not the place for all routes of a large application. */
const SHOWN = 20;

/** Guards from before this module came, which go on letting revoked tokens in. */
@Injectable()
export class LeftoverGuardsCheck {
  private readonly logger = new Logger('JwtStateModule');

  constructor(
    private readonly reflector: Reflector,
    private readonly routes: GuardedRoutes,
  ) {}

  run(): void {
    for (const [guard, where] of this.found()) {
      const more = where.length > SHOWN ? [`and ${where.length - SHOWN} more`] : [];
      this.logger.warn(
        `${guard} guards ${[...where.slice(0, SHOWN), ...more].join(', ')}. It does not ask the deny list: ` +
          'revoked tokens pass it, and it puts the claims of an outdated token into request.user. If it ' +
          'checks access tokens, remove it: JwtStateGuard does that.',
      );
    }
  }

  /** Each of these guards, with the routes that it guards. */
  private found(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    const add = (name: string | undefined, where: string) => {
      if (name !== undefined) found.set(name, [...(found.get(name) ?? []), where]);
    };
    for (const guard of this.routes.globalGuards()) add(leftover(guard, false), 'every route');
    for (const { controller, handler, guards, name } of this.routes.everything()) {
      const isPublic = this.reflector.getAllAndOverride(PUBLIC, [handler, controller]) === 'open';
      const names = new Set(guards.map((guard) => leftover(guard, isPublic)));
      for (const guard of names) add(guard, name);
    }
    return found;
  }
}

/** How the guard is called, if it checks JWTs by itself. */
function leftover(guard: unknown, isPublic: boolean): string | undefined {
  if (isOurGuard(guard)) return undefined;
  const passportJwt = passportJwtGuard(guard);
  if (passportJwt) return passportJwt;
  // As in the recipe without passport. On a public route it is there for tokens of another kind.
  const type = classOf(guard);
  const verifies = !isPublic && tokensOfClass(type).includes(JwtService);
  return verifies ? `${type.name} (with JwtService)` : undefined;
}
