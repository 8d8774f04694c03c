import { NestFactory } from '@nestjs/core';
import { portOf } from '../shared/settings.js';
import { IssuerModule } from './issuer.module.js';

// The raw body: the signature of a webhook is over its bytes.
const app = await NestFactory.create(IssuerModule, { rawBody: true });
app.enableShutdownHooks();
await app.listen(portOf('ISSUER_PORT', 3001), '127.0.0.1');
console.log(`issuer listens on ${await app.getUrl()}`);
