/**
 * Every round gives each contender one slice, and begins with another one: a machine that slows down
 * or speeds up in the course of a run does so for all of them.
 */
export async function interleave<T>(
  names: readonly string[],
  rounds: number,
  measure: (name: string, round: number) => Promise<T>,
): Promise<Map<string, T[]>> {
  const samples = new Map<string, T[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      samples.get(name)?.push(await measure(name, round));
    }
  }
  return samples;
}
