import { generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The private keys of the issuer, as a JSON list of JWKs: the first signs, all of them verify. */
export function keysFile(): string {
  return process.env.KEYS_FILE || 'build/02-services/keys.json';
}

export async function readKeys(file: string): Promise<JsonWebKey[]> {
  const keys = parsed(await readFile(file, 'utf8'));
  if (Array.isArray(keys) && keys.length > 0) return keys;
  // What is in there is not shown: it may be a private key.
  throw new Error(`${file} is not a JSON list of private keys.`);
}

/** In one piece: who reads it at this moment finds the old list or the new one. */
export async function writeKeys(file: string, keys: readonly JsonWebKey[]): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}.tmp`;
  await writeFile(draft, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, file);
}

export function generateKey(): JsonWebKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ format: 'jwk' });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
