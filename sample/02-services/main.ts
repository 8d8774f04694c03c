import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, watchFile, writeFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateKey, keysFile, writeKeys } from './issuer/keys/key-file.js';
import { startRedis } from './launcher/redis-server.js';
import { Service } from './launcher/service.js';
import { portOf } from './shared/settings.js';

/* One command for the whole: a Redis, the keys, and both services. */

const keys = keysFile();
if (!existsSync(keys)) await writeKeys(keys, [generateKey()]);

const secret = webhookSecret();
const issuerUrl = `http://127.0.0.1:${portOf('ISSUER_PORT', 3001)}`;
const redis = await startRedis().catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
const issuer = service('issuer', { REDIS_URL: redis.url, WEBHOOK_SECRET: secret });
const reports = service('reports', {
  REDIS_URL: redis.url,
  JWKS_URI: `${issuerUrl}/.well-known/jwks.json`,
});

let isStopping = false;
process.on('SIGINT', () => void stop());
process.on('SIGTERM', () => void stop());

try {
  await issuer.start();
  await reports.start();
  // Keys are read at boot: a changed list means a new process.
  watchFile(keys, { interval: 500 }, () => void issuer.restart());
  console.log('Both services are running. Ctrl-C stops them.');
} catch (error) {
  console.error((error as Error).message);
  fail();
}

function service(name: string, env: Record<string, string>): Service {
  const here = fileURLToPath(import.meta.url);
  const file = join(dirname(here), name, `main${extname(here)}`);
  return new Service(name, file, env, () => {
    console.error(`The service ${name} has ended.`);
    fail();
  });
}

/** What the payment provider signs with: given, or made once and kept beside the keys. */
function webhookSecret(): string {
  const { WEBHOOK_SECRET } = process.env;
  if (WEBHOOK_SECRET) return WEBHOOK_SECRET;
  const file = join(dirname(keys), 'webhook-secret');
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('hex'), { mode: 0o600 });
  return readFileSync(file, 'utf8').trim();
}

function fail(): void {
  process.exitCode = 1;
  void stop();
}

async function stop(): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  await Promise.all([issuer.stop(), reports.stop()]);
  await redis.stop();
  process.exit();
}
