import { channel } from 'node:diagnostics_channel';
import { Logger } from '@nestjs/common';
import type { Clock } from '../clock.js';
import type { JwtStateEventName, JwtStateEvents } from './events.js';

type Listener<N extends JwtStateEventName> = (event: JwtStateEvents[N]) => void | Promise<void>;
type Content<N extends JwtStateEventName> = Omit<JwtStateEvents[N], 'at'>;

export interface EventSink {
  emit<N extends JwtStateEventName>(name: N, content: Content<N>): void;
}

/** Where nothing comes of it, nothing is to be told. */
export const noEvents: EventSink = { emit: () => {} };

/** Every event is published here, too: `nestjs-jwt-state:issued` and so on. */
const CHANNEL_PREFIX = 'nestjs-jwt-state:';

/**
 * What happens to tokens and to the store, for audit logs and metrics. The same events go through
 * Node's `diagnostics_channel`, as `nestjs-jwt-state:<name>`, for tools that are not part of the
 * application.
 *
 * @example
 * ```ts
 * @Injectable()
 * export class Audit implements OnModuleInit {
 *   constructor(private readonly events: TokenEvents) {}
 *
 *   onModuleInit() {
 *     this.events.on('refresh-reuse', ({ sub, sid }) => this.alert(sub, sid));
 *   }
 * }
 * ```
 *
 * @publicApi
 */
export class TokenEvents implements EventSink {
  private readonly logger = new Logger('JwtStateModule');
  private readonly listeners = new Map<JwtStateEventName, Set<Listener<never>>>();

  /** @internal */
  constructor(private readonly clock: Clock) {}

  /**
   * Listens to one kind of event. Listeners are called after the fact and on the way of the
   * request: what takes time belongs into a queue. What they throw is logged and goes no further.
   *
   * @returns a function that ends it
   */
  on<N extends JwtStateEventName>(name: N, listener: Listener<N>): () => void {
    const listeners = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** @internal */
  emit<N extends JwtStateEventName>(name: N, content: Content<N>): void {
    const listeners = this.listeners.get(name) as Set<Listener<N>> | undefined;
    const diagnostics = channel(CHANNEL_PREFIX + name);
    if (!listeners?.size && !diagnostics.hasSubscribers) return;
    const event = Object.freeze({ at: this.clock.now(), ...content }) as JwtStateEvents[N];
    for (const listener of listeners ?? []) this.call(name, listener, event);
    diagnostics.publish(event);
  }

  /** An audit log that fails must not fail the request it tells of. */
  private call<N extends JwtStateEventName>(
    name: N,
    listener: Listener<N>,
    event: JwtStateEvents[N],
  ): void {
    (async () => listener(event))().catch((error: unknown) => {
      const why = error instanceof Error ? error.stack : String(error);
      this.logger.error(`A listener to ${name} failed.`, why);
    });
  }
}
