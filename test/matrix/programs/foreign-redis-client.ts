/* A real client of ioredis, of the version that is installed, is refused by name before it is used. */
import 'reflect-metadata';
import * as assert from 'node:assert/strict';
import { JwtStateConfigError } from 'nestjs-jwt-state';
import { redisDenyList } from 'nestjs-jwt-state/redis';

/** Not a dependency of this project: only the applications of the matrix have it. */
const IOREDIS: string = 'ioredis';

async function main(): Promise<void> {
  const { Redis, Cluster } = await import(IOREDIS);
  const options = { lazyConnect: true };
  const clients = [new Redis(options), new Cluster([{ host: '127.0.0.1', port: 1 }], options)];
  for (const client of clients) {
    assert.throws(
      () => redisDenyList({ client }),
      (error) => error instanceof JwtStateConfigError && /ioredis/.test(error.message),
    );
    client.disconnect();
  }
  console.log('ok');
}

void main();
