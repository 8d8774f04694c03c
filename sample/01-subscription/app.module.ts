import { Module } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import { JwtStateModule } from 'nestjs-jwt-state';
import { AdminController } from './admin.controller.js';
import { AuthController } from './auth.controller.js';
import { HealthController } from './health.controller.js';
import { PageModule } from './page/page.module.js';
import { gracePeriod, jwtSecret } from './settings.js';
import { DENY_LIST_CACHE, StorageModule } from './storage.module.js';
import { SubscriptionController } from './subscription.controller.js';
import { Users } from './users/users.js';

@Module({
  imports: [
    StorageModule,
    PageModule,
    JwtStateModule.forRootAsync({
      guard: 'global',
      imports: [StorageModule],
      inject: [Users, DENY_LIST_CACHE],
      useFactory: (users: Users, cache: Cache | undefined) => ({
        keys: { algorithm: 'HS256', secret: jwtSecret() },
        claims: (username) => users.claimsOf(username),
        denyList: { cache },
        reissue: { gracePeriod: gracePeriod() },
      }),
    }),
  ],
  controllers: [AuthController, SubscriptionController, AdminController, HealthController],
})
export class AppModule {}
