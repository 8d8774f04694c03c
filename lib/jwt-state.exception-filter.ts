import { type ArgumentsHost, Catch, Logger } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { writeChallenge } from './delivery/challenge.js';
import type { AnyResponse } from './delivery/raw-http.js';
import { JwtStateError } from './jwt-state.errors.js';

/** Adds `WWW-Authenticate` and `Retry-After` to errors that leave a handler, and logs our 500s. */
@Catch(JwtStateError)
export class JwtStateExceptionFilter extends BaseExceptionFilter<JwtStateError> {
  private readonly log = new Logger('JwtStateModule');

  override catch(error: JwtStateError, host: ArgumentsHost): void {
    if (host.getType() !== 'http') throw error;
    if (error.getStatus() === 500) this.log.error(`${error.code}: ${error.message}`, error.stack);
    writeChallenge(host.switchToHttp().getResponse<AnyResponse>(), error);
    super.catch(error, host);
  }
}
