const SLOTS = 16_384;

/** The slot of a cluster in which all keys with this hash tag lie. */
export function slotOf(tag: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
    crc &= 0xffff;
  }
  return crc % SLOTS;
}

/** Hash tags whose slots lie evenly over all: one in each of so many ranges of the same length. */
export function spreadTags(count: number): string[] {
  const tags = new Map<number, string>();
  for (let n = 0; tags.size < count; n++) {
    const tag = n.toString(36);
    const range = Math.floor((slotOf(tag) * count) / SLOTS);
    if (!tags.has(range)) tags.set(range, tag);
  }
  return [...tags].sort(([a], [b]) => a - b).map(([, tag]) => tag);
}
