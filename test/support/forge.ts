import { createHmac, type KeyObject, sign } from 'node:crypto';
import { SECRET } from './test-app.js';

export interface Forgery {
  /** `undefined` members are left out. */
  header?: Record<string, unknown>;
  /** The payload, or its text as it shall stand there, JSON or not. */
  payload: unknown;
  /** How it is signed, and what `alg` says unless `header` says something else. */
  algorithm?: 'HS256' | 'HS384' | 'HS512' | 'RS256' | 'ES256';
  key?: string | Buffer | KeyObject;
}

/** A signed token, made by hand, since no library makes bad ones. Without a fault it is like ours. */
export function forge({ header, payload, algorithm = 'HS256', key = SECRET }: Forgery): string {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  const head = encode(JSON.stringify({ alg: algorithm, typ: 'at+jwt', ...header }));
  const signed = `${head}.${encode(text)}`;
  return `${signed}.${signatureOf(signed, algorithm, key).toString('base64url')}`;
}

export function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}

function signatureOf(text: string, algorithm: string, key: string | Buffer | KeyObject): Buffer {
  const hash = `sha${algorithm.slice(2)}`;
  if (algorithm.startsWith('HS')) return createHmac(hash, key).update(text).digest();
  return sign(hash, Buffer.from(text), { key: key as KeyObject, dsaEncoding: 'ieee-p1363' });
}
