/** How a schedule decides: one of `n`, and with a probability the first of them. */
export type Choose = (n: number, chance?: number) => number;

/** A seeded generator (mulberry32): runs must be repeatable. */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Draws by chance, and keeps what it has drawn. */
export function drawing(seed: number): { choose: Choose; taken: number[] } {
  const random = seeded(seed);
  const taken: number[] = [];
  const draw: Choose = (n, chance) => {
    if (n < 2) return 0;
    if (chance === undefined) return Math.floor(random() * n);
    return random() < chance ? 1 + Math.floor(random() * (n - 1)) : 0;
  };
  const choose: Choose = (n, chance) => {
    const value = draw(n, chance);
    taken.push(value);
    return value;
  };
  return { choose, taken };
}

/** Repeats what was drawn; what is not listed is the first option. */
export function repeating(list: readonly number[]): Choose {
  let index = 0;
  return (n) => {
    const value = list[index++] ?? 0;
    return value < n ? value : 0;
  };
}
