import { Module } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import { JwtStateModule } from 'nestjs-jwt-state';
import { HealthController } from '../../01-subscription/health.controller.js';
import { durationOf, required } from '../shared/settings.js';
import { DENY_LIST_CACHE, StorageModule } from '../shared/storage.module.js';
import { sharedOptions } from '../shared/token-options.js';
import { ReportsController } from './reports.controller.js';

/** Knows no user and has no private key: it verifies, with the issuer's public keys. */
@Module({
  imports: [
    StorageModule,
    JwtStateModule.forRootAsync({
      guard: 'global',
      refresh: { path: false },
      imports: [StorageModule],
      inject: [DENY_LIST_CACHE],
      useFactory: (cache: Cache) => ({
        ...sharedOptions(cache),
        keys: {
          jwksUri: required('JWKS_URI'),
          algorithms: ['ES256'],
          cooldown: durationOf('JWKS_COOLDOWN'),
        },
      }),
    }),
  ],
  controllers: [ReportsController, HealthController],
})
export class ReportsModule {}
