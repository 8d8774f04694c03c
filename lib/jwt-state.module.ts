import {
  type DynamicModule,
  type FactoryProvider,
  Inject,
  Module,
  type OnApplicationShutdown,
  type Provider,
  Scope,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, DiscoveryModule, ModulesContainer } from '@nestjs/core';
import { BootCheck } from './boot/boot-check.js';
import { markAsOurs } from './boot/copies.js';
import { GuardedRoutes } from './boot/guarded-routes.js';
import { LeftoverGuardsCheck } from './boot/leftover-guards.check.js';
import { ReissuesTokenCheck } from './boot/reissues-token.check.js';
import { checkWiring } from './boot/wiring.check.js';
import { type Clock, systemClock } from './clock.js';
import { CredentialReader } from './delivery/credential-reader.js';
import { TokenDelivery } from './delivery/token-delivery.js';
import { closeStore, openStore } from './deny-list/create-store.js';
import type { DenyListStore } from './deny-list/deny-list.store.js';
import { TokenEvents } from './events/token-events.js';
import { globalGuard } from './guards/global-guard.js';
import { JwtStateGuard } from './guards/jwt-state.guard.js';
import { JwtStateStrategy } from './guards/jwt-state.strategy.js';
import { TokenReissueInterceptor } from './interceptors/token-reissue.interceptor.js';
import { type Assembly, assemble } from './jwt-state.assembly.js';
import { checkStaticOptions, type JwtStateConfig, resolveOptions } from './jwt-state.config.js';
import { JwtStateConfigError } from './jwt-state.errors.js';
import { JwtStateExceptionFilter } from './jwt-state.exception-filter.js';
import {
  type ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  type OPTIONS_TYPE,
} from './jwt-state.module-definition.js';
import type { JwtStateOptions, StaticOptions } from './jwt-state.options.js';
import { ASSEMBLY, CLOCK, CONFIG, FIXED_OPTIONS, JWKS, STORE, WIRING } from './jwt-state.tokens.js';
import { createKeys } from './keys/create-keys.js';
import { jwksControllerAt } from './keys/jwks.controller.js';
import { publicJwks } from './keys/jwks.js';
import { KeyRing } from './keys/key-ring.js';
import { RefreshCredentials } from './refresh/refresh-credentials.js';
import { RefreshRoute } from './refresh/refresh-route.js';
import { refreshControllerAt } from './refresh/refresh-token.controller.js';
import { RefreshTokens } from './refresh/refresh-tokens.js';
import { CommitProtocol } from './reissue/commit-protocol.js';
import { Reissuer } from './reissue/reissuer.js';
import { TokenResolver } from './reissue/token-resolver.js';
import { TokenMint } from './token/token-mint.js';
import { TokenService } from './token-service/token.service.js';
import { TokenIssuer } from './token-service/token-issuer.js';

/** Parts of the assembly under their classes, for guard, interceptor and controller to inject. */
const parts: FactoryProvider[] = [
  part(TokenIssuer, ({ issuer }) => issuer),
  part(TokenDelivery, ({ delivery }) => delivery),
  part(TokenResolver, ({ resolver }) => resolver),
  part(CommitProtocol, ({ protocol }) => protocol),
  part(Reissuer, ({ reissuer }) => reissuer),
  part(RefreshTokens, ({ refreshTokens }) => refreshTokens),
  part(RefreshCredentials, ({ refreshCredentials }) => refreshCredentials),
  part(TokenMint, ({ mint }) => mint),
  part(CredentialReader, ({ credentials }) => credentials),
  part(
    JwtStateStrategy,
    ({ credentials, verifier }) => new JwtStateStrategy(credentials, verifier),
  ),
];

function part<T>(provide: Type<T>, useFactory: (assembly: Assembly) => T | undefined) {
  return { provide, inject: [ASSEMBLY], useFactory };
}

/** What an application injects or binds. */
const exported: readonly Type[] = [
  ...parts.map(({ provide }) => provide as Type),
  TokenService,
  TokenEvents,
  JwtStateGuard,
  TokenReissueInterceptor,
];

/** Revoking needs a deny list; where there is none, whoever asks for it learns so at boot. */
const withDenyList: Provider = part(TokenService, ({ tokens }) => tokens);
const withoutDenyList: Provider = {
  provide: TokenService,
  scope: Scope.TRANSIENT,
  useFactory: () => {
    throw new JwtStateConfigError(
      'TokenService needs a deny list, and denyList is false. Inject TokenIssuer: it has all but ' +
        'revoke() and markStale().',
    );
  },
};

const providers: Provider[] = [
  { provide: CLOCK, useValue: systemClock },
  { provide: TokenEvents, inject: [CLOCK], useFactory: (clock: Clock) => new TokenEvents(clock) },
  { provide: WIRING, inject: [ModulesContainer], useFactory: checkWiring },
  // After the wiring: what stops the boot there must not leave an open store behind.
  {
    provide: CONFIG,
    inject: [MODULE_OPTIONS_TOKEN, FIXED_OPTIONS, WIRING],
    useFactory: resolveOptions,
  },
  { provide: STORE, inject: [CONFIG, CLOCK, TokenEvents], useFactory: openStore },
  {
    provide: ASSEMBLY,
    inject: [CONFIG, STORE, CLOCK, TokenEvents, RefreshRoute],
    useFactory: async (
      config: JwtStateConfig,
      store: DenyListStore,
      clock: Clock,
      events: TokenEvents,
      refreshRoute: RefreshRoute,
    ) => {
      // What fails the boot must not leave a connection behind that keeps the process alive.
      const keys = await createKeys(config, clock).catch(async (error) => {
        await closeStore(config);
        throw error;
      });
      const refreshPath = () => refreshRoute.path;
      return assemble({ config, keys, store, clock, events, refreshPath });
    },
  },
  ...parts,
  RefreshRoute,
  JwtStateGuard,
  globalGuard,
  TokenReissueInterceptor,
  GuardedRoutes,
  ReissuesTokenCheck,
  LeftoverGuardsCheck,
  BootCheck,
  { provide: APP_FILTER, useClass: JwtStateExceptionFilter },
];

/** Made at boot, so that a set that cannot be published stops it. */
const jwks: Provider = {
  provide: JWKS,
  inject: [ASSEMBLY],
  useFactory: ({ keys }: Assembly) => publicJwks(keys.ring ?? new KeyRing([])),
};

/**
 * Keeps the claims of running sessions true. Import it once, in the root module; guard, interceptor,
 * `TokenService` and the refresh route are there for every module.
 *
 * @publicApi
 */
@Module({ imports: [DiscoveryModule] })
export class JwtStateModule extends ConfigurableModuleClass implements OnApplicationShutdown {
  constructor(
    @Inject(ASSEMBLY) private readonly assembly: Assembly,
    @Inject(CONFIG) private readonly config: JwtStateConfig,
  ) {
    super();
  }

  async onApplicationShutdown(): Promise<void> {
    this.assembly.denyList.close();
    await closeStore(this.config);
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
  static override forRoot(options: JwtStateOptions): DynamicModule {
    const given = options ?? {};
    return complete(super.forRoot(given as typeof OPTIONS_TYPE), given);
  }

  /**
   * With options that come from elsewhere. `guard`, `refresh`, `jwks` and `denyList: false` shape the
   * module itself, so they stand beside the factory and not in what it returns.
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
  static override forRootAsync(
    options: Omit<typeof ASYNC_OPTIONS_TYPE, 'denyList'> & StaticOptions,
  ): DynamicModule {
    return complete(super.forRootAsync(options as typeof ASYNC_OPTIONS_TYPE), options);
  }
}

function complete(definition: DynamicModule, options: StaticOptions): DynamicModule {
  const { guard, refresh, jwks: jwksOption, denyList } = options;
  const { refreshPath, jwksPath, hasDenyList } = checkStaticOptions(options);
  const tokenService = hasDenyList ? withDenyList : withoutDenyList;
  const fixed: StaticOptions = { guard, refresh, jwks: jwksOption, denyList };
  return {
    ...definition,
    global: true,
    controllers: [
      ...(refreshPath === false ? [] : [refreshControllerAt(refreshPath)]),
      ...(jwksPath === false ? [] : [jwksControllerAt(jwksPath)]),
    ],
    providers: [
      ...(definition.providers ?? []),
      { provide: FIXED_OPTIONS, useValue: fixed },
      ...providers,
      tokenService,
      ...(jwksPath === false ? [] : [jwks]),
    ],
    exports: [...exported],
  };
}

markAsOurs([JwtStateModule, ...exported]);
