import { Controller, type MessageEvent, Sse } from '@nestjs/common';
import { type JwtStateEventName, Public, TokenEvents } from 'nestjs-jwt-state';
import { Observable } from 'rxjs';

const SHOWN: readonly JwtStateEventName[] = [
  'issued',
  'reissued',
  'superseded-use',
  'marked-stale',
  'revoked',
];

/**
 * What happens to tokens, as it happens. Events hold ids and no tokens, but they say who does what: a
 * real application keeps them for its administrators.
 */
@Public()
@Controller('events')
export class EventsController {
  constructor(private readonly events: TokenEvents) {}

  @Sse()
  stream(): Observable<MessageEvent> {
    return new Observable((reader) => {
      const stops = SHOWN.map((name) =>
        this.events.on(name, (event) => reader.next({ data: { name, ...event } })),
      );
      return () => {
        for (const stop of stops) stop();
      };
    });
  }
}
