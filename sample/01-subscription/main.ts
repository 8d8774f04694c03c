import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

// The page keeps a connection open to hear of events; it must not keep the application from ending.
const app = await NestFactory.create(AppModule, { forceCloseConnections: true });
app.enableShutdownHooks();
await app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1');
console.log(`01-subscription listens on ${await app.getUrl()}`);
