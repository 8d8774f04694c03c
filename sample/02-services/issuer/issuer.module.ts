import { Module } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import { JwtStateModule } from 'nestjs-jwt-state';
import { HealthController } from '../../01-subscription/health.controller.js';
import { DENY_LIST_CACHE, StorageModule } from '../shared/storage.module.js';
import { REFRESH_TOKEN_LIFETIME, sharedOptions } from '../shared/token-options.js';
import { AccountController } from './account.controller.js';
import { AdminController } from './admin.controller.js';
import { AuthController } from './auth.controller.js';
import { keysFile, readKeys } from './keys/key-file.js';
import { PaymentController } from './payment/payment.controller.js';
import { PaymentEvents } from './payment/payment-events.js';
import { Users } from './users/users.js';
import { UsersModule } from './users/users.module.js';

/** Knows the users and has the private keys: logs in, reissues, refreshes, publishes its keys. */
@Module({
  imports: [
    StorageModule,
    UsersModule,
    JwtStateModule.forRootAsync({
      guard: 'global',
      jwks: true,
      refresh: { tokens: { expiresIn: REFRESH_TOKEN_LIFETIME } },
      imports: [StorageModule, UsersModule],
      inject: [Users, DENY_LIST_CACHE],
      useFactory: async (users: Users, cache: Cache) => ({
        ...sharedOptions(cache),
        // The first signs, all of them verify.
        keys: (await readKeys(keysFile())).map((privateKey) => ({
          algorithm: 'ES256',
          privateKey,
        })),
        accessToken: { expiresIn: '5m' },
        // Plan and role are the user's; the tenant was chosen in this session.
        claims: (username, previous) => users.claimsOf(username, previous?.tenant),
      }),
    }),
  ],
  controllers: [
    AuthController,
    AccountController,
    AdminController,
    PaymentController,
    HealthController,
  ],
  providers: [PaymentEvents],
})
export class IssuerModule {}
