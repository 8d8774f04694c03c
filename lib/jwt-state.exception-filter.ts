import { type ArgumentsHost, Catch, Inject, Logger } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import { writeChallenge } from './delivery/challenge.js';
import { CredentialReader } from './delivery/credential-reader.js';
import type { AnyRequest, AnyResponse } from './delivery/raw-http.js';
import { answerTo } from './guards/answer-to.js';
import { JwtStateError } from './jwt-state.errors.js';

/** Adds `WWW-Authenticate` and `Retry-After` to errors that leave a handler, and logs our 500s. */
@Catch(JwtStateError)
export class JwtStateExceptionFilter extends BaseExceptionFilter<JwtStateError> {
  private readonly log = new Logger('JwtStateModule');
  @Inject(CredentialReader) private readonly credentials!: CredentialReader;

  override catch(thrown: JwtStateError, host: ArgumentsHost): unknown {
    if (host.getType() !== 'http') return this.passOn(thrown, host);
    const error = answerTo(thrown, host.switchToHttp().getRequest<AnyRequest>(), this.credentials);
    if (error.getStatus() === 500) this.log.error(`${error.code}: ${error.message}`, error.stack);
    writeChallenge(host.switchToHttp().getResponse<AnyResponse>(), error);
    return super.catch(error, host);
  }

  /** Other transports have their own ways; this filter must not stand in them. */
  private passOn(error: JwtStateError, host: ArgumentsHost): unknown {
    const { code, message } = error;
    if (host.getType() === 'rpc') return throwError(() => error);
    if (host.getType() === 'ws') {
      const client = host.switchToWs().getClient<{ emit?(event: string, data: unknown): void }>();
      client.emit?.('exception', { status: 'error', code, message });
      return undefined;
    }
    return error;
  }
}
