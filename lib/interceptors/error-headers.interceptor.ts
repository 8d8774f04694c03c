import {
  type CallHandler,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { catchError, type Observable } from 'rxjs';
import { writeChallenge } from '../delivery/challenge.js';
import type { AnyResponse } from '../delivery/raw-http.js';

/**
 * For the routes of this module: the headers of an error stand on the response before an exception
 * filter of the application answers it in its own way.
 */
@Injectable()
export class ErrorHeadersInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      catchError((error: unknown) => {
        writeChallenge(context.getArgByIndex<AnyResponse>(1), error);
        throw error;
      }),
    );
  }
}
