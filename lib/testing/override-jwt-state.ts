import type { Clock } from '../clock.js';
import { openStore } from '../deny-list/create-store.js';
import { TokenEvents } from '../events/token-events.js';
import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import { CLOCK, CONFIG, STORE } from '../jwt-state.tokens.js';
import type { TestDenyList } from './test-deny-list.js';

/** What stands in for the real thing; what is left out stays as the application has it. */
export interface JwtStateOverrides {
  /** A `TestClock`, or any other. */
  readonly clock?: Clock;
  /** In the place of `denyList.cache`; its other options stay. */
  readonly denyList?: TestDenyList;
}

/** The part of `TestingModuleBuilder` (`@nestjs/testing`) that is needed here. */
export interface ProviderOverrides {
  overrideProvider(token: symbol): {
    useValue(value: unknown): unknown;
    useFactory(options: { factory: (...args: never[]) => unknown; inject: unknown[] }): unknown;
  };
}

/**
 * Gives the application under test another clock or another deny list, whatever its modules say. A
 * store that it has configured is not connected then.
 *
 * @example
 * ```ts
 * const clock = new TestClock();
 * const denyList = new TestDenyList();
 * const builder = Test.createTestingModule({ imports: [AppModule] });
 * const module = await overrideJwtState(builder, { clock, denyList }).compile();
 * ```
 * @returns the same builder
 * @throws JwtStateConfigError from `compile()`, for a deny list where the application has none
 * @publicApi
 */
export function overrideJwtState<B extends ProviderOverrides>(
  builder: B,
  { clock, denyList }: JwtStateOverrides,
): B {
  if (clock) builder.overrideProvider(CLOCK).useValue(clock);
  if (denyList) {
    builder.overrideProvider(STORE).useFactory({
      inject: [CONFIG, CLOCK, TokenEvents],
      factory: (config: JwtStateConfig, time: Clock, events: TokenEvents) =>
        openStore(withCache(config, denyList), time, events),
    });
  }
  return builder;
}

function withCache(config: JwtStateConfig, { cache }: TestDenyList): JwtStateConfig {
  if (config.denyList.isOn) return { ...config, denyList: { ...config.denyList, cache } };
  throw new JwtStateConfigError(
    'overrideJwtState: this application has denyList: false, so there is none to replace.',
  );
}
