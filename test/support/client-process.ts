import { createTokenClient } from 'nestjs-jwt-state/client';

// A process that has a client and does nothing more. It ends by itself.
const client = createTokenClient({ baseUrl: process.env.BASE_URL ?? '', tabs: true });
client.signIn(process.env.TOKEN);
const response = await client.fetch('/me');
console.log(await response.text());
