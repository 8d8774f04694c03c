import { Module } from '@nestjs/common';
import { StorageModule } from '../../shared/storage.module.js';
import { Users } from './users.js';

@Module({ imports: [StorageModule], providers: [Users], exports: [Users] })
export class UsersModule {}
