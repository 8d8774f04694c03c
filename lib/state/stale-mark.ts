/**
 * "The state of this scope has changed." A token that names the id was made after the change; any other
 * token of the scope is stale.
 */
export interface StaleMark {
  readonly id: string;
  /** Handlers that are changing this state right now, by owner: until when they may commit, in ms. */
  readonly deadlines: ReadonlyMap<string, number>;
}

/** What a new mark says about handlers at work. */
export interface DeadlineChange {
  /** A handler that may commit until then, in ms. */
  readonly opens?: { readonly owner: string; readonly until: number };
  /** The owner of a handler that has ended. */
  readonly closes?: string;
}

const NO_DEADLINES: ReadonlyMap<string, number> = new Map();

/** `S<id>`, then `,<owner>=<deadline>` for each handler at work. */
export function formatStaleMark({ id, deadlines }: StaleMark): string {
  let text = `S${id}`;
  for (const [owner, until] of deadlines) text += `,${owner}=${until}`;
  return text;
}

/** @returns `undefined` for what is no stale mark */
export function parseStaleMark(field: string): StaleMark | undefined {
  const [id = '', ...entries] = field.slice(1).split(',');
  if (id === '') return undefined;
  if (entries.length === 0) return { id, deadlines: NO_DEADLINES };
  const deadlines = new Map<string, number>();
  for (const entry of entries) {
    const at = entry.indexOf('=');
    const until = Number(entry.slice(at + 1));
    if (at < 1 || !Number.isSafeInteger(until)) return undefined;
    deadlines.set(entry.slice(0, at), until);
  }
  return { id, deadlines };
}

/**
 * The mark after a change. Deadlines of other handlers that lie ahead are kept: without them, a token
 * made between such a handler's commit and its final mark would count as final.
 */
export function staleMarkAfter(
  before: StaleMark | undefined,
  id: string,
  { opens, closes }: DeadlineChange,
  now: number,
): StaleMark {
  const deadlines = new Map<string, number>();
  for (const [owner, until] of before?.deadlines ?? []) {
    if (until > now && owner !== closes) deadlines.set(owner, until);
  }
  if (opens) {
    deadlines.set(opens.owner, Math.max(opens.until, deadlines.get(opens.owner) ?? 0));
  }
  return { id, deadlines };
}
