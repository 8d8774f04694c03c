import {
  type DynamicModule,
  Inject,
  Module,
  type OnModuleDestroy,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, DiscoveryModule } from '@nestjs/core';
import { systemClock } from './clock.js';
import { CredentialReader } from './delivery/credential-reader.js';
import { TokenDelivery } from './delivery/token-delivery.js';
import { createBoundedStore } from './deny-list/create-store.js';
import { JwtStateGuard } from './guards/jwt-state.guard.js';
import { JwtStateStrategy } from './guards/jwt-state.strategy.js';
import { TokenReissueInterceptor } from './interceptors/token-reissue.interceptor.js';
import { type Assembly, assemble } from './jwt-state.assembly.js';
import { BootCheck } from './jwt-state.boot-check.js';
import { checkStaticOptions, type JwtStateConfig, resolveOptions } from './jwt-state.config.js';
import { JwtStateExceptionFilter } from './jwt-state.exception-filter.js';
import {
  type ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  type OPTIONS_TYPE,
} from './jwt-state.module-definition.js';
import type { StaticOptions } from './jwt-state.options.js';
import { ASSEMBLY, CLOCK, CONFIG, STORE } from './jwt-state.tokens.js';
import { refreshControllerAt } from './refresh/refresh-token.controller.js';
import { CommitProtocol } from './reissue/commit-protocol.js';
import { Reissuer } from './reissue/reissuer.js';
import { TokenResolver } from './reissue/token-resolver.js';
import { createSigningKeys } from './token/signing-keys.js';
import { TokenMint } from './token/token-mint.js';
import { TokenService } from './token-service/token.service.js';

/** Parts of the assembly under their classes, for guard, interceptor and controller to inject. */
const parts: Provider[] = [
  { provide: TokenService, ...part(({ tokens }) => tokens) },
  { provide: TokenDelivery, ...part(({ delivery }) => delivery) },
  { provide: TokenResolver, ...part(({ resolver }) => resolver) },
  { provide: CommitProtocol, ...part(({ protocol }) => protocol) },
  { provide: Reissuer, ...part(({ reissuer }) => reissuer) },
  { provide: TokenMint, ...part(({ mint }) => mint) },
  { provide: CredentialReader, ...part(({ credentials }) => credentials) },
  {
    provide: JwtStateStrategy,
    ...part(({ credentials, verifier, keys }) => new JwtStateStrategy(credentials, verifier, keys)),
  },
];

function part<T>(useFactory: (assembly: Assembly) => T) {
  return { inject: [ASSEMBLY], useFactory };
}

const providers: Provider[] = [
  { provide: CLOCK, useValue: systemClock },
  { provide: CONFIG, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveOptions },
  { provide: STORE, inject: [CONFIG, CLOCK], useFactory: createBoundedStore },
  {
    provide: ASSEMBLY,
    inject: [CONFIG, STORE, CLOCK],
    useFactory: async (config: JwtStateConfig, store, clock) =>
      assemble({ config, store, clock, keys: await createSigningKeys(config.keys) }),
  },
  ...parts,
  JwtStateGuard,
  TokenReissueInterceptor,
  BootCheck,
  { provide: APP_FILTER, useClass: JwtStateExceptionFilter },
];

/**
 * Keeps the claims of running sessions true. Import it once, in the root module; guard, interceptor,
 * `TokenService` and the refresh route are there for every module.
 *
 * @publicApi
 */
@Module({ imports: [DiscoveryModule] })
export class JwtStateModule extends ConfigurableModuleClass implements OnModuleDestroy {
  constructor(@Inject(ASSEMBLY) private readonly assembly: Assembly) {
    super();
  }

  onModuleDestroy(): void {
    this.assembly.denyList.close();
  }

  /**
   * @example
   * ```ts
   * JwtStateModule.forRoot({
   *   keys: { algorithm: 'HS256', secret: process.env.JWT_SECRET ?? '' },
   *   claims: async (subject) => users.claimsOf(subject),
   *   guard: 'global',
   * })
   * ```
   * @throws JwtStateConfigError at boot, with what to do about it
   */
  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    return complete(super.forRoot(options ?? {}), options ?? {});
  }

  /**
   * With options that come from elsewhere. `guard` and `refresh` shape the module itself, so they
   * stand beside the factory and not in what it returns.
   *
   * @example
   * ```ts
   * JwtStateModule.forRootAsync({
   *   guard: 'global',
   *   inject: [ConfigService, UsersService],
   *   useFactory: (config: ConfigService, users: UsersService) => ({
   *     keys: { algorithm: 'HS256', secret: config.getOrThrow('JWT_SECRET') },
   *     claims: (subject) => users.claimsOf(subject),
   *   }),
   * })
   * ```
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return complete(super.forRootAsync(options), options);
  }
}

function complete(definition: DynamicModule, options: StaticOptions): DynamicModule {
  const { guard, refreshPath } = checkStaticOptions(options);
  return {
    ...definition,
    global: true,
    controllers: refreshPath === false ? [] : [refreshControllerAt(refreshPath)],
    providers: [
      ...(definition.providers ?? []),
      ...providers,
      ...(guard === 'global' ? [{ provide: APP_GUARD, useExisting: JwtStateGuard }] : []),
    ],
    exports: [
      ...parts.map((provider) => (provider as { provide: symbol }).provide),
      JwtStateGuard,
      TokenReissueInterceptor,
    ],
  };
}
