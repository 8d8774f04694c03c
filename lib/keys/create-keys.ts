import type { Clock } from '../clock.js';
import type { JwtStateConfig } from '../jwt-state.config.js';
import { JwtStateConfigError } from '../jwt-state.errors.js';
import type { Key } from './key-material.js';
import type { KeysOption, RemoteKeyOptions } from './key-options.js';
import { createKeyRing, KeyRing } from './key-ring.js';
import { LegacyKeys } from './legacy-keys.js';
import { createRemoteKeys } from './remote-keys.js';
import type { VerificationKeys } from './verification-keys.js';

/** All keys of a service, made once, at boot. */
export interface Keys {
  /** Absent in a service that only verifies. */
  readonly signing: Key | undefined;
  /** Those of its own tokens. */
  readonly own: VerificationKeys;
  /** Those that can be published: its own, where they are not another service's. */
  readonly ring: KeyRing | undefined;
  readonly legacy: VerificationKeys | undefined;
  /** By `iss`. */
  readonly foreign: ReadonlyMap<string, VerificationKeys>;
}

type KeyConfig = Pick<JwtStateConfig, 'keys' | 'legacy' | 'foreignIssuers'>;

/** @throws JwtStateConfigError */
export async function createKeys(config: KeyConfig, clock: Clock): Promise<Keys> {
  const own = await createVerificationKeys(config.keys ?? [], clock);
  const ring = own instanceof KeyRing ? own : undefined;
  const foreign = await Promise.all(
    config.foreignIssuers.map(
      async ({ issuer, keys }) => [issuer, await createVerificationKeys(keys, clock)] as const,
    ),
  );
  return {
    signing: ring?.signing,
    own,
    ring,
    legacy: await createLegacyKeys(config, ring),
    foreign: new Map(foreign),
  };
}

async function createVerificationKeys(options: KeysOption, clock: Clock) {
  return isRemote(options) ? createRemoteKeys(options, clock) : createKeyRing(options);
}

async function createLegacyKeys({ legacy }: KeyConfig, ring: KeyRing | undefined) {
  if (!legacy) return undefined;
  if (!legacy.keys && !ring?.keys.length) {
    throw new JwtStateConfigError(
      'legacy.keys is missing: this service has no keys of its own that old tokens could be signed with.',
    );
  }
  return new LegacyKeys(legacy.keys ? await createKeyRing(legacy.keys) : (ring ?? new KeyRing([])));
}

function isRemote(options: KeysOption): options is RemoteKeyOptions {
  return typeof options === 'object' && options !== null && 'jwksUri' in options;
}
