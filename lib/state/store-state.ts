import {
  formatScopeState,
  parseScopeFields,
  type ScopeState,
  UnreadableRecordError,
} from './scope-state.js';

/** The record `w`: what the store says of itself. */
export interface StoreState {
  /** Named by whoever found the store empty. Tokens carry it, so a store that lost its records shows. */
  readonly epoch: string;
  /** How long a mark has to be kept for the longest-lived token of any service here, in ms. */
  readonly keepFor: number;
  /** Marks that concern everyone. */
  readonly everyone: ScopeState;
}

/** @throws UnreadableRecordError */
export function parseStoreState(value: string): StoreState {
  const [epoch = '', keepFor, ...fields] = value.split(' ');
  const milliseconds = Number(keepFor);
  if (epoch === '' || !Number.isSafeInteger(milliseconds) || milliseconds < 0) {
    throw new UnreadableRecordError('The witness of the store cannot be read.');
  }
  return { epoch, keepFor: milliseconds, everyone: parseScopeFields(fields) };
}

export function formatStoreState({ epoch, keepFor, everyone }: StoreState): string {
  const marks = formatScopeState(everyone);
  return `${epoch} ${keepFor}${marks === '' ? '' : ` ${marks}`}`;
}
