import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto';
import type { BenchKeys } from '../keys.js';

export function signingKey({ algorithm, sign }: BenchKeys): KeyObject {
  return algorithm === 'HS256' ? createSecretKey(sign, 'utf8') : createPrivateKey(sign);
}
