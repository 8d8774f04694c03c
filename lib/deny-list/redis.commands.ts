import { type Entry, type Standing, StoreAnswerError } from './deny-list.store.js';

/** The commands used of a node-redis client, standalone, Sentinel or cluster. */
export interface RedisCommands {
  readonly isOpen: boolean;
  readonly options?: { readonly disableOfflineQueue?: boolean };
  get(key: string): Promise<unknown>;
  mGet?(keys: string[]): Promise<unknown>;
  exists?(keys: string[]): Promise<unknown>;
  multi?(): RedisBatch;
  /** What only a client for Sentinel has. */
  getSentinelNode?: unknown;
  set(key: string, value: string, options?: { PX?: number; NX?: true }): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

type Question = readonly ['get', string] | readonly ['mGet' | 'exists', string[]];

interface RedisBatch extends Record<'get' | 'mGet' | 'exists', (keys: never) => RedisBatch> {
  execAsPipeline(): Promise<unknown[]>;
}

/** Writes a value; of its own end and that of what stands there, the later one counts. */
const SET_AT_LEAST = `
local function setAtLeast(key, value, ttl)
  if ttl == '' then return redis.call('SET', key, value) end
  local left = redis.call('PTTL', key)
  if left > tonumber(ttl) then ttl = string.format('%.0f', left) end
  return redis.call('SET', key, value, 'PX', ttl)
end`;

const WRITE = `${SET_AT_LEAST}
return setAtLeast(KEYS[1], ARGV[1], ARGV[2])`;

/** Replaces a value only where it is still the one expected; answers what stands there else. */
const WRITE_IF_UNCHANGED = `${SET_AT_LEAST}
local current = redis.call('GET', KEYS[1])
if (current or '') ~= ARGV[1] then return current or '' end
setAtLeast(KEYS[1], ARGV[2], ARGV[3])
return false`;

/** Neither where one of them stands. Answers what stood there. */
const WRITE_BOTH_IF_ABSENT = `
local standing = redis.call('GET', KEYS[1])
if standing then return {standing, ''} end
standing = redis.call('GET', KEYS[2])
if standing then return {'', standing} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return {'', ''}`;

const REMOVE_IF_UNCHANGED = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/** As `formatUsed` writes it. In no other commands than those above, since accounts permit these. */
const CONCLUDE = `
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
local at, successor, note = string.match(record, '^(%d+) (%S+) ?(%S*)$')
if successor ~= ARGV[1] or note == '*' then return 0 end
local left = redis.call('PTTL', KEYS[1])
if left <= 0 then return 0 end
redis.call('SET', KEYS[1], at .. ' ' .. successor .. ' *', 'PX', string.format('%.0f', left))
local value = redis.call('GET', KEYS[2])
if value and redis.call('PTTL', KEYS[2]) > tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], value, 'PX', ARGV[2])
end
return 1`;

/**
 * The verbs of a deny list in commands of Redis, under the names as they stand there. Redis's own PX
 * ends what is to end: an end inside the value would go by the clock of its writer.
 */
export const redisVerbs = {
  async read(
    client: RedisCommands,
    names: string[],
    isCluster: boolean,
  ): Promise<(string | undefined)[]> {
    const values = await valuesOf(client, names, isCluster).catch(rethrowRefusal(names));
    if (values.length !== names.length) throw new Error('Redis answered with a wrong length.');
    return values.map(toText);
  },

  async write(client: RedisCommands, name: string, value: string, ttl: number | undefined) {
    const command = { keys: [name], arguments: [value, String(ttl ?? '')] };
    const answer = await client.eval(WRITE, command).catch(rethrowRefusal([name]));
    if (answer !== 'OK') throw new Error('Redis did not confirm the write.');
  },

  async writeIfAbsent(client: RedisCommands, name: string, value: string, ttl: number | undefined) {
    const options = { NX: true as const, ...(ttl !== undefined && { PX: ttl }) };
    // Twice, for the entry that expires between the refusal and the look at what refused.
    for (let attempt = 0; attempt < 2; attempt++) {
      const answer = await client.set(name, value, options).catch(rethrowRefusal([name]));
      if (answer === 'OK') return undefined;
      const current = toText(await client.get(name).catch(rethrowRefusal([name])));
      if (current !== undefined) return current;
    }
    throw new Error('Redis neither took the write nor showed what prevented it.');
  },

  async writeIfUnchanged(
    client: RedisCommands,
    name: string,
    expected: string | undefined,
    value: string,
    ttl: number | undefined,
  ) {
    const command = { keys: [name], arguments: [expected ?? '', value, String(ttl ?? '')] };
    const answer = await client.eval(WRITE_IF_UNCHANGED, command).catch(rethrowRefusal([name]));
    if (answer === null) return { written: true };
    return { written: false, current: toText(answer) || undefined };
  },

  /** @param entries under their names in Redis, which lie on one server */
  async writeBothIfAbsent(
    client: RedisCommands,
    ...entries: readonly [Entry, Entry]
  ): Promise<readonly [Standing, Standing]> {
    const command = {
      keys: entries.map(({ key }) => key),
      arguments: entries.flatMap(({ value, ttl }) => [value, String(ttl)]),
    };
    const answer = await client
      .eval(WRITE_BOTH_IF_ABSENT, command)
      .catch(rethrowRefusal(command.keys));
    if (!Array.isArray(answer)) throw new Error('Redis did not confirm the write.');
    return [toText(answer[0]) || undefined, toText(answer[1]) || undefined];
  },

  async removeIfUnchanged(client: RedisCommands, name: string, expected: string): Promise<boolean> {
    const command = { keys: [name], arguments: [expected] };
    const answer = await client.eval(REMOVE_IF_UNCHANGED, command).catch(rethrowRefusal([name]));
    if (typeof answer !== 'number') throw new Error('Redis did not confirm the removal.');
    return answer === 1;
  },

  async conclude(
    client: RedisCommands,
    jti: string,
    successor: string,
    next: string,
    ttl: number,
  ): Promise<void> {
    const command = { keys: [jti, next], arguments: [successor, String(ttl)] };
    await client.eval(CONCLUDE, command).catch(rethrowRefusal(command.keys));
  },
};

/** Whose account may not use MGET or EXISTS. */
const withGetOnly = new WeakSet<RedisCommands>();

/**
 * For MGET a value of another type is none, and a session whose revocation it has replaced would be let in.
 * EXISTS counts it, in the same round trip; GET, which is asked where the two differ, fails.
 */
async function valuesOf(
  client: RedisCommands,
  names: string[],
  isCluster: boolean,
): Promise<unknown[]> {
  // A cluster answers per slot.
  if (isCluster || !client.exists || names.length === 1 || withGetOnly.has(client)) {
    return getEach(client, names);
  }
  try {
    const [values, count] = await together(client, ['mGet', names], ['exists', names]);
    const found = (values as unknown[]).filter((value) => value !== null && value !== undefined);
    if (Number(count) <= found.length) return values as unknown[];
  } catch (error) {
    if (!(error instanceof Error && FORBIDDEN.test(error.message))) throw error;
    withGetOnly.add(client);
  }
  return getEach(client, names);
}

function getEach(client: RedisCommands, names: string[]): Promise<unknown[]> {
  return together(client, ...names.map((name) => ['get', name] as const));
}

/** In one round trip. */
function together(client: RedisCommands, ...questions: readonly Question[]): Promise<unknown[]> {
  // A client for Sentinel lends its connection to one command after the other, or to a batch.
  if (client.getSentinelNode && client.multi) {
    const batch = client.multi();
    return questions
      .reduce((all, [verb, keys]) => all[verb](keys as never), batch)
      .execAsPipeline();
  }
  const ask = client as unknown as Record<string, (keys: unknown) => Promise<unknown>>;
  return Promise.all(questions.map(([verb, keys]) => ask[verb]?.(keys)));
}

function toText(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'string') {
    throw new StoreAnswerError('It holds a value of another kind.');
  }
  return value;
}

/** No memory left, no disk, no replica in reach, not the master. */
const REFUSAL = /^(OOM|MISCONF|NOREPLICAS|READONLY)\b/;
/** What Redis says of an account that a script goes beyond begins otherwise from version to version. */
const FORBIDDEN = /^NOPERM|^ERR (ACL failure in script|The user executing the script can't)/;

/**
 * A server that takes no writes is not an outage: it answers, and reading works. An account that may not
 * write or run scripts is a mistake in its set-up.
 */
const rethrowRefusal = (names: readonly string[]) => (error: unknown) => {
  if (!(error instanceof Error)) throw error;
  if (/\bWRONGTYPE\b/.test(error.message)) {
    throw new StoreAnswerError(
      `${names.length > 1 ? 'One of the keys' : 'The key'} ${names.join(', ')} holds a value of another type ` +
        '(WRONGTYPE), so nobody can say what was denied. Delete it, and give the deny list a Redis of its own.',
    );
  }
  if (FORBIDDEN.test(error.message)) {
    throw new StoreAnswerError(
      'The Redis account may not write: it needs SET, EVAL, and what the scripts call.',
    );
  }
  const [word] = REFUSAL.exec(error.message) ?? [];
  throw word === undefined ? error : new StoreAnswerError(`Redis takes no writes (${word}).`);
};
