import { Logger } from '@nestjs/common';
import type { JwtStateError } from './jwt-state.errors.js';

const logger = new Logger('JwtStateModule');
const logged = new WeakSet<JwtStateError>();

/**
 * A 500 of this module is a mistake in the application, and its answer does not say which: the log does, once,
 * whatever exception filter answers it.
 */
export function logMistake(error: JwtStateError): void {
  if (error.getStatus() !== 500 || logged.has(error)) return;
  logged.add(error);
  logger.error(`${error.code}: ${error.message}`, error.stack);
}
