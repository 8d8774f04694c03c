import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { Logger } from '@nestjs/common';
import type { Clock } from '../clock.js';
import { toMilliseconds, toTimeout } from '../duration.js';
import { JwtStateConfigError, KeysUnavailableError } from '../jwt-state.errors.js';
import { checkFits } from './key-material.js';
import type { Algorithm, AsymmetricAlgorithm, RemoteKeyOptions } from './key-options.js';
import type { KeyQuery, VerificationKeys } from './verification-keys.js';

/** What is left of the options once they are checked: every time in milliseconds. */
interface RemoteKeySettings {
  readonly jwksUri: URL;
  readonly algorithms: readonly AsymmetricAlgorithm[];
  readonly cooldown: number;
  readonly maxAge: number;
  readonly timeout: number;
}

/** By algorithm, then by `kid`. `undefined` stands where two keys claim the same place. */
type KeySet = ReadonlyMap<Algorithm, ReadonlyMap<string, KeyObject | undefined>>;

const OPTIONS = ['jwksUri', 'algorithms', 'cooldown', 'maxAge', 'timeout'];
const ASYMMETRIC = /^(RS|PS|ES)(256|384|512)$/;
/** Of RSA and EC keys and of secrets (RFC 7518 §6). */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/** After a failure it is tried again this soon, so that an outage ends when the issuer is back. */
const RETRY_PAUSE_MS = 1_000;
/** A set of a thousand keys is smaller. */
const MAX_BODY_BYTES = 1_000_000;

/** The published keys of another service, fetched when they are needed and kept for a while. */
export class RemoteKeys implements VerificationKeys {
  readonly algorithms: readonly AsymmetricAlgorithm[];
  private readonly logger = new Logger('JwtStateModule');
  private current: { readonly keys: KeySet; readonly askedAt: number } | undefined;
  private pending: Promise<KeySet> | undefined;
  /** Of the last fetch; gone once one succeeds. */
  private failure: { readonly at: number; readonly cause: unknown } | undefined;

  constructor(
    private readonly settings: RemoteKeySettings,
    private readonly clock: Clock,
  ) {
    this.algorithms = settings.algorithms;
  }

  accepts(algorithm: unknown): algorithm is Algorithm {
    return (this.algorithms as readonly unknown[]).includes(algorithm);
  }

  find({ alg, kid }: KeyQuery): KeyObject | undefined | Promise<KeyObject | undefined> {
    if (kid === undefined || !this.accepts(alg)) return undefined;
    const { maxAge, cooldown } = this.settings;
    const age = this.current ? this.since(this.current.askedAt) : Number.POSITIVE_INFINITY;
    if (age >= maxAge) return this.findFetched(alg, kid);
    const key = this.current?.keys.get(alg)?.get(kid);
    if (key) {
      if (age >= maxAge / 2) this.refreshAhead();
      return key;
    }
    // Anyone can make up a `kid`, so what is not in a set that is this new does not exist.
    const isSettled = !this.pending && !this.failure && age < cooldown;
    return isSettled ? undefined : this.findFetched(alg, kid);
  }

  private async findFetched(alg: Algorithm, kid: string): Promise<KeyObject | undefined> {
    if (this.isPausing()) throw new KeysUnavailableError(this.failure?.cause);
    let keys: KeySet;
    try {
      keys = await this.fetch();
    } catch (cause) {
      throw new KeysUnavailableError(cause);
    }
    return keys.get(alg)?.get(kid);
  }

  /** Early enough that no request waits for it, and that a short outage is over before it counts. */
  private refreshAhead(): void {
    if (!this.isPausing()) this.fetch().catch(() => {});
  }

  private isPausing(): boolean {
    if (!this.failure) return false;
    return this.since(this.failure.at) < Math.min(RETRY_PAUSE_MS, this.settings.cooldown);
  }

  /** One at a time, shared by all who wait for it. */
  private fetch(): Promise<KeySet> {
    this.pending ??= this.load().finally(() => {
      this.pending = undefined;
    });
    return this.pending;
  }

  private async load(): Promise<KeySet> {
    const askedAt = this.clock.now();
    try {
      const keys = toKeySet(await fetchJson(this.settings), this.algorithms);
      this.current = { keys, askedAt };
      if (this.failure) this.logger.log(`The keys of ${this.issuer} can be read again.`);
      this.failure = undefined;
      return keys;
    } catch (cause) {
      if (!this.failure) {
        this.logger.warn(`The keys of ${this.issuer} cannot be read: ${reasonOf(cause)}`);
      }
      this.failure = { at: this.clock.now(), cause };
      throw cause;
    }
  }

  /** Without the query, which may hold a key to the endpoint. */
  private get issuer(): string {
    return this.settings.jwksUri.origin + this.settings.jwksUri.pathname;
  }

  /** A clock that is set back must not keep anything alive until it has caught up. */
  private since(time: number): number {
    return Math.abs(this.clock.now() - time);
  }
}

/** Checks the options. Nothing is fetched until the first token comes. @throws JwtStateConfigError */
export function createRemoteKeys(options: RemoteKeyOptions, clock: Clock): RemoteKeys {
  const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
  if (unknown !== undefined) {
    throw new JwtStateConfigError(
      `keys: there is no option ${JSON.stringify(unknown)} beside \`jwksUri\`. ` +
        `It knows: ${OPTIONS.join(', ')}.`,
    );
  }
  const { jwksUri, algorithms, cooldown = '30s', maxAge = '10m', timeout = '5s' } = options;
  const settings = {
    jwksUri: checkUri(jwksUri),
    algorithms: checkAlgorithms(algorithms),
    cooldown: toMilliseconds('keys.cooldown', cooldown),
    maxAge: toMilliseconds('keys.maxAge', maxAge),
    timeout: toTimeout('keys.timeout', timeout),
  };
  return new RemoteKeys(settings, clock);
}

function checkUri(uri: unknown): URL {
  if (uri === undefined || uri === null || uri === '') {
    throw new JwtStateConfigError(
      'keys.jwksUri is missing. Set it to the `jwks_uri` of the issuer, e.g. ' +
        "'https://issuer.example/.well-known/jwks.json'.",
    );
  }
  // None of the messages shows the URI: it may hold a password.
  const text = String(uri);
  if (!URL.canParse(text)) {
    throw new JwtStateConfigError("keys.jwksUri is not a URL. It begins with 'https://'.");
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new JwtStateConfigError(
      'keys.jwksUri holds a user name or a password. A key set is public: leave them out.',
    );
  }
  const isLocal = url.protocol === 'http:' && LOOPBACK.includes(url.hostname);
  if (url.protocol === 'https:' || isLocal) return url;
  throw new JwtStateConfigError(
    'keys.jwksUri must be https: whoever can change the answer on its way chooses the keys. ' +
      'Only localhost, 127.0.0.1 and [::1] may be http.',
  );
}

function checkAlgorithms(algorithms: unknown): readonly AsymmetricAlgorithm[] {
  if (!Array.isArray(algorithms) || algorithms.length === 0) {
    throw new JwtStateConfigError(
      "keys.algorithms is missing. List what the issuer signs with, e.g. ['RS256'].",
    );
  }
  const wrong = algorithms.filter((name) => typeof name !== 'string' || !ASYMMETRIC.test(name));
  if (wrong.length === 0) return [...algorithms];
  throw new JwtStateConfigError(
    `keys.algorithms: ${JSON.stringify(wrong[0])} cannot be used with a public key. ` +
      'Use RS, PS or ES with 256, 384 or 512.',
  );
}

async function fetchJson({ jwksUri, timeout }: RemoteKeySettings): Promise<unknown> {
  const response = await fetch(jwksUri, {
    headers: { accept: 'application/jwk-set+json, application/json' },
    redirect: 'manual',
    signal: AbortSignal.timeout(timeout),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`it answered with status ${response.status}, not 200.`);
  }
  const text = await readText(response);
  try {
    return JSON.parse(text);
  } catch {
    // The cause is left out: the parser quotes its input.
    throw new Error('it did not answer with JSON.');
  }
}

async function readText({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_BODY_BYTES)
      throw new Error(`it answered with more than ${MAX_BODY_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

/** Leaves out what cannot be used: a set may also hold keys for others (RFC 7517 §5). */
function toKeySet(body: unknown, algorithms: readonly AsymmetricAlgorithm[]): KeySet {
  const entries = (body as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(entries)) throw new Error('it did not answer with a JWK Set.');
  const set = new Map(algorithms.map((alg) => [alg, new Map<string, KeyObject | undefined>()]));
  for (const jwk of entries.filter(isForSignatures)) {
    const key = toPublicKey(jwk);
    if (!key) continue;
    for (const [alg, keys] of set) {
      if (jwk.alg !== undefined && jwk.alg !== alg) continue;
      if (!fits(alg, key)) continue;
      keys.set(jwk.kid, keys.has(jwk.kid) ? undefined : key);
    }
  }
  return set;
}

function isForSignatures(entry: unknown): entry is JsonWebKey & { kid: string } {
  if (typeof entry !== 'object' || entry === null) return false;
  const { kid, use, key_ops: operations } = entry as Record<string, unknown>;
  if (typeof kid !== 'string') return false;
  // Published with its private half, or enough of it to find the rest: everyone can sign with it.
  if (PRIVATE_MEMBERS.some((name) => name in entry)) return false;
  if (use !== undefined && use !== 'sig') return false;
  return operations === undefined || (Array.isArray(operations) && operations.includes('verify'));
}

function toPublicKey({ kty, crv, x, y, n, e }: JsonWebKey): KeyObject | undefined {
  try {
    if (kty === 'RSA') return createPublicKey({ key: { kty, n, e } as JsonWebKey, format: 'jwk' });
    if (kty !== 'EC') return undefined;
    return createPublicKey({ key: { kty, crv, x, y } as JsonWebKey, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function fits(algorithm: AsymmetricAlgorithm, key: KeyObject): boolean {
  try {
    checkFits(algorithm, key);
    return true;
  } catch {
    return false;
  }
}

/** `fetch` says only that it failed; why is in the cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string } };
  return cause?.code === undefined ? String(message) : `${message} (${cause.code})`;
}
