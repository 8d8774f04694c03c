import { NestFactory } from '@nestjs/core';
import { portOf } from '../shared/settings.js';
import { ReportsModule } from './reports.module.js';

const app = await NestFactory.create(ReportsModule);
app.enableShutdownHooks();
await app.listen(portOf('REPORTS_PORT', 3002), '127.0.0.1');
console.log(`reports listens on ${await app.getUrl()}`);
