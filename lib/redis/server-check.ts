import type { ServerCommands } from './redis-link.js';

/** What a server would lose. */
export interface ServerFindings {
  /** Every policy but `noeviction` drops entries when memory is full; `undefined`: it does not say. */
  readonly evictionPolicy: string | undefined;
  /** Whether a restart keeps entries; `undefined`: it does not say. */
  readonly isPersistent: boolean | undefined;
}

/**
 * Asks a server how it is set up: by CONFIG, or, where the account may not use that (most providers
 * forbid it), by INFO, which tells of the append-only file and not of snapshots.
 */
export async function inspect(server: ServerCommands): Promise<ServerFindings> {
  return (await byConfig(server)) ?? (await byInfo(server)) ?? UNKNOWN;
}

const UNKNOWN: ServerFindings = { evictionPolicy: undefined, isPersistent: undefined };

async function byConfig(server: ServerCommands): Promise<ServerFindings | undefined> {
  const setting = async (name: string) => valueIn(await server.configGet(name), name);
  try {
    const [evictionPolicy, appendOnly, save] = await Promise.all(
      ['maxmemory-policy', 'appendonly', 'save'].map(setting),
    );
    if (evictionPolicy === undefined) return undefined;
    return { evictionPolicy, isPersistent: appendOnly === 'yes' || (save ?? '') !== '' };
  } catch (error) {
    return refusedOnly(error);
  }
}

async function byInfo(server: ServerCommands): Promise<ServerFindings | undefined> {
  try {
    const info = String(await server.info());
    const evictionPolicy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
    const hasAppendOnly = /^aof_enabled:1/m.test(info);
    return { evictionPolicy, isPersistent: hasAppendOnly || undefined };
  } catch (error) {
    return refusedOnly(error);
  }
}

/** A refusal is an answer; a connection that was lost is not. */
function refusedOnly(error: unknown): undefined {
  const isRefusal = error instanceof Error && /^(NOPERM|ERR|NOAUTH)\b/.test(error.message);
  if (!isRefusal) throw error;
}

/** A map in RESP3, a list of names and values in RESP2, an object from the client's own commands. */
function valueIn(answer: unknown, name: string): string | undefined {
  if (answer instanceof Map) return text(answer.get(name));
  if (Array.isArray(answer)) return text(answer[answer.indexOf(name) + 1]);
  return text((answer as Record<string, unknown> | null)?.[name]);
}

function text(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : String(value);
}
