import { types } from 'node:util';
import { ClaimsInvalidError } from '../jwt-state.errors.js';

/**
 * So deep may claims be nested: objects and lists within each other. What reads tokens walks them
 * by recursion, here and in other services, and thousands of levels fit into a token.
 */
export const DEEPEST_CLAIMS = 64;

/** Where in what was given, and what stands around it. */
interface Place {
  readonly path: string;
  /** Its name in what stands around it, as `toJSON` is told. */
  readonly key: string;
  readonly around: readonly object[];
}

/**
 * A copy as it will come out of a token. `JSON.stringify` would turn some values into others without
 * a word: a `Set` into `{}`, `NaN` into `null`. Here they are refused.
 *
 * @param path what it is called in the message: the value itself never stands there
 * @throws ClaimsInvalidError that names the place, as in `claims.settings.tags[2]`
 */
export function jsonValue(given: unknown, path: string): unknown {
  return copy(given, { path, key: '', around: [] });
}

/** Whether a value of JSON is nested deeper; it goes no deeper itself. */
export function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeperThan(levels - 1, item));
}

function copy(given: unknown, place: Place): unknown {
  const value = represented(given, place);
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) refuse(place, `is ${value}`);
      // JSON knows no negative zero.
      return value === 0 ? 0 : value;
    case 'object':
      return value === null ? null : copyOfObject(value, place);
    default:
      return refuse(place, `is ${value === undefined ? 'undefined' : `a ${typeof value}`}`);
  }
}

function copyOfObject(value: object, outer: Place): unknown {
  const { around } = outer;
  const place = { ...outer, around: [...around, value] };
  if (around.includes(value)) refuse(place, 'contains itself');
  if (around.length >= DEEPEST_CLAIMS)
    refuse(place, `lies more than ${DEEPEST_CLAIMS} levels deep`);
  return Array.isArray(value) ? copyOfList(value, place) : copyOfMembers(value, place);
}

function copyOfList(list: readonly unknown[], place: Place): unknown[] {
  const items = Array.from({ length: list.length }, (_, index) => {
    const item = { ...place, path: `${place.path}[${index}]`, key: `${index}` };
    return copy(read(list, index, item), item);
  });
  if (Object.keys(list).length > list.length) {
    refuse(place, 'is a list that has other members than its items');
  }
  return items;
}

function copyOfMembers(value: object, place: Place): Record<string, unknown> {
  const names = Object.keys(value);
  if (types.isNativeError(value) || hidesData(value, names)) {
    refuse(place, `is a ${nameOf(value)}, which JSON cannot carry`);
  }
  const members: Record<string, unknown> = {};
  for (const name of names) {
    const inner = { ...place, path: `${place.path}${member(name)}`, key: name };
    if (name === '__proto__') refuse(inner, 'has the name of the prototype');
    const item = read(value, name, inner);
    // As in JSON: a member without a value is not there.
    if (item !== undefined) members[name] = copy(item, inner);
  }
  return members;
}

/** What stands for it in JSON: `toJSON()` says so, and what is boxed is what is in the box. */
function represented(given: unknown, place: Place): unknown {
  if (types.isBoxedPrimitive(given)) return given.valueOf();
  if (types.isDate(given) && Number.isNaN(given.getTime())) refuse(place, 'is an invalid Date');
  if ((typeof given !== 'object' || given === null) && typeof given !== 'bigint') return given;
  const toJson: unknown = read(given, 'toJSON', place);
  if (typeof toJson !== 'function') return given;
  const value: unknown = attempt(() => toJson.call(given, place.key), place);
  // Which is how libraries for dates write one that is invalid.
  if (value === null || value === undefined) refuse(place, `has a toJSON() that gives ${value}`);
  return value;
}

/**
 * Whether an object holds what `JSON.stringify` does not see: a class that answers by getters, or, where
 * it has no members of its own to write, by methods. So do `Set`, `Map`, `RegExp`, `Promise`.
 */
function hidesData(value: object, names: readonly string[]): boolean {
  let prototype: object | null = Object.getPrototypeOf(value);
  // The last one is that of every object.
  for (let next: object | null; prototype !== null; prototype = next) {
    next = Object.getPrototypeOf(prototype);
    if (next === null) return false;
    const inherited = Object.entries(Object.getOwnPropertyDescriptors(prototype));
    for (const [name, { get, enumerable }] of inherited) {
      if (name === 'constructor') continue;
      if (get !== undefined || enumerable || names.length === 0) return true;
    }
  }
  return false;
}

function read(from: unknown, name: string | number, place: Place): unknown {
  return attempt(() => (from as Record<string | number, unknown>)[name], place);
}

/** Getters and `toJSON` are the application's, and what they throw may quote a value. */
function attempt<T>(what: () => T, place: Place): T {
  try {
    return what();
  } catch {
    return refuse(place, 'cannot be read: it throws');
  }
}

function nameOf(value: object): string {
  const { name } = Object.getPrototypeOf(value)?.constructor ?? {};
  return typeof name === 'string' && name !== '' ? name : 'class';
}

function member(name: string): string {
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name)
    ? `.${name}`
    : `[${JSON.stringify(name)}]`;
}

function refuse({ path }: Place, why: string): never {
  throw new ClaimsInvalidError(`A token carries JSON, and ${path} ${why}.`);
}
