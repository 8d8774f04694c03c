import { type ArgumentsHost, Catch, Logger } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { type Observable, throwError } from 'rxjs';
import { writeChallenge } from './delivery/challenge.js';
import { type AnyRequest, isHttpResponse } from './delivery/raw-http.js';
import { logMistake } from './error-log.js';
import { answerTo } from './guards/answer-to.js';
import { JwtStateError } from './jwt-state.errors.js';

/** What Nest's gateways hand out: a socket of Socket.IO, or a WebSocket. */
interface GatewayClient {
  emit?(event: string, data: unknown): void;
  send?(text: string): void;
  readonly readyState?: unknown;
}

/**
 * Adds `Jwt-State-Error`, `WWW-Authenticate` and `Retry-After` to errors that leave a handler, and logs
 * our 500s. On other transports an error stays one: what is given back there counts as handled.
 *
 * It is bound globally by the module. Nest asks no global filter for gateways: bind it there.
 *
 * @example
 * ```ts
 * @UseFilters(JwtStateExceptionFilter)
 * @WebSocketGateway()
 * export class ChatGateway {}
 * ```
 *
 * @publicApi
 */
@Catch(JwtStateError)
export class JwtStateExceptionFilter extends BaseExceptionFilter<JwtStateError> {
  private readonly log = new Logger('JwtStateModule');

  override catch(thrown: JwtStateError, host: ArgumentsHost): unknown {
    logMistake(thrown);
    const type = host.getType<string>();
    if (type === 'rpc') return this.failStream(thrown);
    if (type === 'ws') return this.tellClient(thrown, host);
    const response: unknown = host.getArgByIndex(1);
    // What has no type of its own, Nest calls `http`, too.
    if (type !== 'http' || !isHttpResponse(response)) throw thrown;
    const error = answerTo(thrown, host.getArgByIndex<AnyRequest>(0));
    writeChallenge(response, error);
    return super.catch(error, host);
  }

  /** Nest's servers want a stream, and tell nobody of what is thrown at an event. */
  private failStream(error: JwtStateError): Observable<never> {
    this.warnOfOutage(error);
    return throwError(() => error);
  }

  /** As Nest's own filter does; thrown here, it would end the process. */
  private tellClient(error: JwtStateError, host: ArgumentsHost): void {
    this.warnOfOutage(error);
    const client = host.switchToWs().getClient<GatewayClient | undefined>();
    const { code, message } = error.getResponse() as { code: string; message: string };
    const data = { status: 'error', code, message };
    // A WebSocket has an `emit`, too, which does not leave the process.
    if (typeof client?.readyState === 'number' && client.send) {
      client.send(JSON.stringify({ event: 'exception', data }));
    } else {
      client?.emit?.('exception', data);
    }
  }

  private warnOfOutage(error: JwtStateError): void {
    if (error.getStatus() === 503) this.log.warn(`${error.code}: ${error.message}`);
  }
}
