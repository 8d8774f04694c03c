export type StoreVerb = 'read' | 'write';

/** Which calls of a store go wrong. */
export interface FaultOptions {
  /** Only reads, or only writes. Default: both. */
  readonly only?: StoreVerb;
  /** Only calls about a key that this matches, such as `/:next:/` or `/:stale:sub:/`. Default: all. */
  readonly keys?: RegExp;
  /** After so many it recovers by itself. Default: never. */
  readonly times?: number;
}

interface Fault extends FaultOptions {
  readonly kind: 'fails' | 'hangs';
}

/** What a store that was told to fail rejects with; the module logs the name of the class. */
export class TestDenyListFault extends Error {
  override readonly name = 'TestDenyListFault';
}

/** A switch that every call of a store passes. The last fault that was set is the one that counts. */
export class Faults {
  private fault: Fault | undefined;
  private met = 0;
  private held: (() => void)[] = [];

  set(fault: Fault): void {
    this.fault = fault;
    this.met = 0;
  }

  /** What was held back goes on now, as it does when a server wakes up. */
  clear(): void {
    this.fault = undefined;
    for (const release of this.held.splice(0)) release();
  }

  /**
   * Nothing where the call may go on, a promise where it has to wait.
   *
   * @throws TestDenyListFault
   */
  pass(verb: StoreVerb, keys: readonly string[]): Promise<void> | undefined {
    const { fault } = this;
    if (!fault || !affects(fault, verb, keys)) return undefined;
    this.met += 1;
    if (fault.times !== undefined && this.met >= fault.times) this.fault = undefined;
    if (fault.kind === 'hangs') return new Promise((resolve) => this.held.push(resolve));
    throw new TestDenyListFault('The store was told to fail.');
  }
}

function affects({ only, keys }: Fault, verb: StoreVerb, names: readonly string[]): boolean {
  if (only !== undefined && only !== verb) return false;
  return keys === undefined || names.some((name) => isAbout(name, keys));
}

export function isAbout(name: string, keys: RegExp): boolean {
  // A /g would remember where it has been.
  keys.lastIndex = 0;
  return keys.test(name);
}
