import type { ExecutionContext } from '@nestjs/common';
import type { Reflector } from '@nestjs/core';
import { type OptionalAccess, PUBLIC, type PublicAccess } from '../decorators/public.decorator.js';
import { AcceptsRefreshToken } from './accepts-refresh-token.js';
import { LeavesReissuing } from './leaves-reissuing.js';

type Handler = ReturnType<ExecutionContext['getHandler']>;
type Controller = ReturnType<ExecutionContext['getClass']>;

/** What decorators say about a route. */
export interface RouteTraits {
  /** Nobody looks at its tokens. */
  readonly isPublic: boolean;
  /** Requests without a token run too; this is what becomes of a bad one. */
  readonly optional: OptionalAccess | undefined;
  readonly leavesReissuing: boolean;
  readonly acceptsRefreshToken: boolean;
}

/** Decorators do not change while an application runs: each route is looked at once. */
export class RouteTraitsReader {
  private readonly byHandler = new WeakMap<Handler, Map<Controller, RouteTraits>>();

  constructor(private readonly reflector: Reflector) {}

  of(context: ExecutionContext): RouteTraits {
    const [handler, controller] = [context.getHandler(), context.getClass()];
    // A handler that is inherited belongs to several controllers.
    const byController = this.byHandler.get(handler) ?? new Map<Controller, RouteTraits>();
    const known = byController.get(controller);
    if (known) return known;
    const traits = this.read(handler, controller);
    this.byHandler.set(handler, byController.set(controller, traits));
    return traits;
  }

  private read(handler: Handler, controller: Controller): RouteTraits {
    const has = (key: symbol) => this.reflector.get<boolean>(key, handler) === true;
    const access = this.reflector.getAllAndOverride<PublicAccess>(PUBLIC, [handler, controller]);
    return {
      isPublic: access === 'open',
      optional: access === 'refuse' || access === 'ignore' ? access : undefined,
      leavesReissuing: has(LeavesReissuing.KEY),
      acceptsRefreshToken: has(AcceptsRefreshToken.KEY),
    };
  }
}
