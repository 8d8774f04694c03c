import { BadRequestException } from '@nestjs/common';

/** The fields of a JSON body: exactly these, each of them text. Anything else is a 400. */
export function readBody<N extends string>(body: unknown, ...names: N[]): Record<N, string> {
  const given = new Map(isObject(body) ? Object.entries(body) : []);
  const unknown = [...given.keys()].filter((name) => !(names as string[]).includes(name));
  if (unknown.length > 0) throw new BadRequestException(`The body takes only ${names.join(', ')}.`);
  const fields = names.map((name) => [name, text(name, given.get(name))] as const);
  return Object.fromEntries(fields) as Record<N, string>;
}

/** The value if it is one of the choices, else a 400. */
export function oneOf<T extends string>(name: string, choices: readonly T[], value: string): T {
  const choice = choices.find((item) => item === value);
  if (choice !== undefined) return choice;
  throw new BadRequestException(`${name} must be one of ${choices.join(', ')}.`);
}

function text(name: string, value: unknown): string {
  const isText = typeof value === 'string' && value !== '' && value.isWellFormed();
  if (isText && !value.includes('\0')) return value;
  throw new BadRequestException(`${name} must be a text that is not empty.`);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
