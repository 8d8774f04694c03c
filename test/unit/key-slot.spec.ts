import { describe, expect, it } from '@jest/globals';
import { slotOf, spreadTags } from '../../lib/redis/key-slot.js';

describe('the slots of a cluster', () => {
  it('are those of Redis', () => {
    // As CLUSTER KEYSLOT answers.
    expect(slotOf('123456789')).toBe(12_739);
    expect(slotOf('foo')).toBe(12_182);
    expect(slotOf('')).toBe(0);
  });

  it('have one tag in each range of the same length', () => {
    const ranges = spreadTags(64).map((tag) => Math.floor(slotOf(tag) / 256));
    expect(ranges).toEqual(Array.from({ length: 64 }, (_, n) => n));
  });
});
