import type { Clock } from '../../lib/clock.js';
import { BoundedStore } from '../../lib/deny-list/bounded.store.js';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import type { DenyListStore } from '../../lib/deny-list/deny-list.store.js';
import { type Assembly, assemble } from '../../lib/jwt-state.assembly.js';
import { resolveOptions } from '../../lib/jwt-state.config.js';
import { JwtStateError } from '../../lib/jwt-state.errors.js';
import type { JwtStateOptions } from '../../lib/jwt-state.options.js';
import { createKeys, type Keys } from '../../lib/keys/create-keys.js';
import type { KeysOption } from '../../lib/keys/key-options.js';
import { FakeClock } from './fake-clock.js';
import { MemoryStore } from './memory-store.js';

export const KEYS = { algorithm: 'HS256', secret: 'a secret of thirty-two bytes....' } as const;
/** Made once: keys take their time. */
const ownKeys = await keysOf(KEYS);
export const storeKeys = new DenyListKeys('jst:');

const silent = { down: () => {}, up: () => {}, refused: () => {} };

interface Parts {
  clock?: Clock;
  store?: DenyListStore;
  keys?: Keys;
  /** Of one store operation, in ms. */
  deadline?: number;
}

/** The module without Nest, as one process runs it: a store that answers in time or fails. */
export function assembled(options: Partial<JwtStateOptions> = {}, parts: Parts = {}): Assembly {
  const { clock = new FakeClock(), keys = ownKeys, deadline = 1_000 } = parts;
  const { guard, refresh, jwks, denyList, ...rest } = options;
  const config = resolveOptions({ keys: KEYS, ...rest }, { guard, refresh, jwks, denyList });
  const store = new BoundedStore(parts.store ?? new MemoryStore(clock), deadline, clock, silent);
  return assemble({ config, keys, store, clock });
}

/** The keys of a service with these options. */
export function keysOf(keys: KeysOption, clock: Clock = new FakeClock()): Promise<Keys> {
  return createKeys({ keys, legacy: undefined, foreignIssuers: [] }, clock);
}

/** How something ended: `'ok'`, or the code of the error it was refused with. */
export async function ending(attempt: unknown): Promise<string> {
  try {
    await attempt;
    return 'ok';
  } catch (error) {
    if (error instanceof JwtStateError) return error.code;
    throw error;
  }
}
