import type { Clock } from '../clock.js';
import type { DenyListKeys } from './deny-list.keys.js';
import type { DenyListStore } from './deny-list.store.js';

/**
 * Under this name a Keyv adapter offers a store of its own, below Keyv's verbs, which are neither
 * atomic nor honest about failures. A symbol and no class: the root entry must not import the
 * optional peers of others.
 */
export const NATIVE_STORE: unique symbol = Symbol.for('nestjs-jwt-state:native-store');

export interface NativeStoreSettings {
  readonly names: DenyListKeys;
  /** The application's, for a store that has none of its own. */
  readonly clock?: Clock;
  /** For a store of several servers: how long each of them may take, in ms. */
  readonly deadline?: number;
  /** Hears which of several servers cannot be had. */
  readonly listener?: ServerListener;
}

export interface ServerListener {
  down(cause: unknown): void;
  up(): void;
}

/** A store that knows how to begin and to end. */
export interface NativeStore extends DenyListStore {
  /**
   * At boot. A server that cannot be reached is no reason to fail: requests are 503 until it can.
   *
   * @throws JwtStateConfigError where it could lose entries without a word
   */
  open(settings: NativeStoreSettings): Promise<void>;

  /** When the application has shut down. */
  close(): Promise<void>;
}

export function nativeStoreOf(adapter: object): NativeStore | undefined {
  return (adapter as { [NATIVE_STORE]?: NativeStore })[NATIVE_STORE];
}
