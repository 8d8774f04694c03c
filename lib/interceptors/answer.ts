import type { ExecutionContext } from '@nestjs/common';
import {
  REDIRECT_METADATA,
  RENDER_METADATA,
  RESPONSE_PASSTHROUGH_METADATA,
  ROUTE_ARGS_METADATA,
} from '@nestjs/common/constants.js';
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum.js';

/*
 * How Nest will answer for a handler, read from the same metadata that Nest reads.
 */

/** Whether it takes `@Res()` or `@Next()` for itself: nobody knows then when its headers leave. */
export function sendsItself(context: ExecutionContext): boolean {
  const [controller, method] = [context.getClass(), methodOf(context)];
  if (Reflect.getMetadata(RESPONSE_PASSTHROUGH_METADATA, controller, method)) return false;
  const args: object = Reflect.getMetadata(ROUTE_ARGS_METADATA, controller, method) ?? {};
  const own = [RouteParamtypes.RESPONSE, RouteParamtypes.NEXT].map(String);
  return Object.keys(args).some((key) => own.includes(key.split(':', 1)[0] as string));
}

/** What it answers with; a redirect or a rendered view is no body of its own. */
export function bodyOf(context: ExecutionContext, answer: unknown): unknown {
  const handler = context.getHandler();
  const isTransformed = [REDIRECT_METADATA, RENDER_METADATA].some((key) =>
    Reflect.hasMetadata(key, handler),
  );
  return isTransformed ? undefined : answer;
}

/** The name under which the class knows the handler; a decorator may have wrapped the function. */
function methodOf(context: ExecutionContext): string {
  const handler = context.getHandler();
  for (let at: object | null = context.getClass().prototype; at; at = Object.getPrototypeOf(at)) {
    const entries = Object.entries(Object.getOwnPropertyDescriptors(at));
    const found = entries.find(([, { value }]) => value === handler);
    if (found) return found[0];
  }
  return handler.name;
}
