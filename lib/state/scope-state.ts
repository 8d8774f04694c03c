import { formatStaleMark, parseStaleMark, type StaleMark } from './stale-mark.js';

/** The record `u`: the marks of one subject, or of one value of a claim. */
export interface ScopeState {
  readonly stale?: StaleMark | undefined;
  /** The id of a revocation: ends every session that does not name it. */
  readonly revoked?: string | undefined;
  readonly others?: OthersRevoked | undefined;
}

/** "Log out my other devices." */
export interface OthersRevoked {
  readonly id: string;
  /** The `sid` of the session that stays. */
  readonly except: string | undefined;
}

export const NO_MARKS: ScopeState = {};

/** A record that nobody can read: the store answered, and fails closed. */
export class UnreadableRecordError extends Error {
  override readonly name = 'UnreadableRecordError';
}

/** @throws UnreadableRecordError */
export function parseScopeState(value: string | undefined): ScopeState {
  return value === undefined ? NO_MARKS : parseScopeFields(value.split(' '));
}

/** @throws UnreadableRecordError */
export function parseScopeFields(fields: readonly string[]): ScopeState {
  let state: ScopeState = NO_MARKS;
  for (const field of fields) {
    const read = parseField(field);
    const isTwice = read !== undefined && Object.keys(read).some((kind) => kind in state);
    if (!read || isTwice) throw new UnreadableRecordError('A record of marks cannot be read.');
    state = { ...state, ...read };
  }
  return state;
}

function parseField(field: string): ScopeState | undefined {
  const content = field.slice(1);
  if (content === '') return undefined;
  switch (field[0]) {
    case 'S': {
      const stale = parseStaleMark(field);
      return stale && { stale };
    }
    case 'R':
      return { revoked: content };
    case 'O': {
      const [id = '', except] = content.split(',');
      return id === '' ? undefined : { others: { id, except } };
    }
    default:
      return undefined;
  }
}

/** `''` where there is no mark. */
export function formatScopeState({ stale, revoked, others }: ScopeState): string {
  const fields: string[] = [];
  if (stale) fields.push(formatStaleMark(stale));
  if (revoked !== undefined) fields.push(`R${revoked}`);
  if (others) fields.push(`O${others.id}${others.except === undefined ? '' : `,${others.except}`}`);
  return fields.join(' ');
}
