import { describe, it } from '@jest/globals';
import { MemoryAdapter } from '../../../lib/deny-list/memory.adapter.js';
import { storeContract } from '../../../lib/store/conformance.js';
import { MemoryStateStore } from '../../../lib/store/memory.state-store.js';

describe('The store in memory', () => {
  const cases = storeContract(() => {
    const adapter = new MemoryAdapter();
    const store = new MemoryStateStore(adapter);
    return { one: store, other: store, close: () => adapter.disconnect() };
  });

  it.each(cases)('$name', ({ run }) => run());
});
