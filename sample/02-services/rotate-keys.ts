import type { JsonWebKey } from 'node:crypto';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { generateKey, keysFile, readKeys, writeKeys } from './issuer/keys/key-file.js';

/** The three steps of a rotation, in their order. README.md says what to wait for in between. */
const STEPS: Record<string, (keys: JsonWebKey[]) => JsonWebKey[]> = {
  /** Published, but nothing is signed with it: the verifiers get to know it. */
  generate: (keys) => [...keys, generateKey()],
  /** The last one signs from now on; what the others have signed is still accepted. */
  promote: (keys) => [...keys.slice(-1), ...keys.slice(0, -1)],
  /** Only the one that signs is left. */
  drop: (keys) => keys.slice(0, 1),
};

const [name = ''] = process.argv.slice(2);
const step = new Map(Object.entries(STEPS)).get(name);
const file = keysFile();
if (!step) throw new Error(`Name one of the steps: ${Object.keys(STEPS).join(', ')}.`);
const before = await readKeys(file);
if (name !== 'generate' && before.length < 2) {
  throw new Error(`${file} holds one key only: begin with generate.`);
}
const keys = step(before);
await writeKeys(file, keys);
for (const [index, key] of keys.entries()) {
  const kid = await calculateJwkThumbprint(key as JWK);
  console.log(`${kid} ${index === 0 ? 'signs and verifies' : 'verifies'}`);
}
