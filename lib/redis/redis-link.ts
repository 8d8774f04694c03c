import { setTimeout as sleep } from 'node:timers/promises';
import type { RedisCommands } from '../deny-list/redis.commands.js';

/** The first pause before another attempt, in ms; each one is up to twice as long. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

export interface LinkCommands extends RedisCommands {
  del(key: string): Promise<unknown>;
}

/** What is asked of a server about itself. */
export interface ServerCommands {
  configGet(parameter: string): Promise<unknown>;
  info(): Promise<unknown>;
}

/** Its message is the deny list's own, and may be logged. */
export class LinkDownError extends Error {}

/** What is heard of a link. */
export interface LinkListener {
  /** Connected, for the first time or again, perhaps to another server. */
  up(): unknown;
  down(cause: unknown): unknown;
  /** Connected to a server that is not the right one any more. */
  outdated(why: string): unknown;
}

/** One way to Redis: a server, a master that Sentinel names, a cluster, a client that was given. */
export interface RedisLink {
  readonly commands: LinkCommands;
  /** The same for what no request waits for: a slow answer counts, too. */
  readonly patientCommands: LinkCommands;
  /** Keys lie on several servers, so no command may name two of them. */
  readonly isCluster: boolean;
  /** One connection: what is asked in one breath is done in that order. */
  readonly isOrdered: boolean;
  /** Goes on trying until it is connected or closed. */
  connect(): Promise<void>;
  /** Waits a moment for what is under way. Closed twice is closed. */
  close(): Promise<void>;
  /** The servers that entries are written to. */
  servers(): Promise<readonly ServerCommands[]>;
}

/**
 * How long to wait before the next attempt, in ms. With jitter, or all processes would come at once
 * when the server is back.
 */
export function reconnectPause(attempt: number): number {
  const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 10));
  return Math.round(pause / 2 + (Math.random() * pause) / 2);
}

/** The same for clients whose own attempts come to an end. */
export async function keepTrying(
  attempt: () => Promise<unknown>,
  isClosed: () => boolean,
  failed: (cause: unknown) => void,
): Promise<void> {
  for (let count = 0; !isClosed(); count++) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (isClosed()) return;
      failed(error);
      await sleep(reconnectPause(count), undefined, { ref: false });
    }
  }
}

/** How long a client may take to close in an orderly way, in ms. */
const CLOSE_WITHIN_MS = 1_000;

/** Closes, and breaks off where the server does not answer any more. */
export async function closeInTime(client: { close(): unknown; destroy(): unknown }): Promise<void> {
  const orderly = (async () => client.close())().catch(() => {});
  await Promise.race([orderly, sleep(CLOSE_WITHIN_MS, undefined, { ref: false })]);
  await (async () => client.destroy())().catch(() => {}); // closed already
}
