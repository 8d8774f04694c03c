import type { INestApplicationContext, Type } from '@nestjs/common';
import { JwtStateConfigError } from '../jwt-state.errors.js';

/** An application, a `TestingModule` or a `ModuleRef`. */
export type TestedApplication = Pick<INestApplicationContext, 'get'>;

/** @throws JwtStateConfigError without `JwtStateModule` */
export function partOf<T>(app: TestedApplication, token: symbol | Type<T>): T {
  const part = findPart(app, token);
  if (part !== undefined) return part;
  throw new JwtStateConfigError(
    'There is no JwtStateModule in this application, or it has not been compiled yet.',
  );
}

export function findPart<T>(app: TestedApplication, token: symbol | Type<T>): T | undefined {
  try {
    return app.get<T>(token, { strict: false });
  } catch {
    return undefined;
  }
}
