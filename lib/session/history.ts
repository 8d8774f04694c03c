import {
  formatGeneration,
  type Generation,
  type Generations,
  parseGeneration,
} from '../state/generations.js';

/** The record `r`: the uses of a session's refresh tokens, and what the session has chosen. */
export interface History {
  /** `n` was made by the use of refresh token `n - 1`. */
  readonly uses: Generations;
  /** The choices, signed: see `choices.ts`. */
  readonly sealedChoices: string | undefined;
}

const NONE: History = { uses: [], sealedChoices: undefined };

/** A record that cannot be read counts as absent: it is not what revokes a session. */
export function parseHistory(value: string | undefined): History {
  if (value === undefined) return NONE;
  const uses: Generation[] = [];
  let sealedChoices: string | undefined;
  for (const field of value.split(' ')) {
    if (field[0] === 'C') {
      sealedChoices = field.slice(1);
      continue;
    }
    const use = parseGeneration(field);
    if (!use) return NONE;
    uses.push(use);
  }
  return { uses, sealedChoices };
}

export function formatHistory({ uses, sealedChoices }: History): string {
  const fields = uses.map(formatGeneration);
  if (sealedChoices !== undefined) fields.push(`C${sealedChoices}`);
  return fields.join(' ');
}
