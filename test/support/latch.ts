const PATIENCE_MS = 5_000;

/** A moment that one side of a test waits for and the other side brings about. */
export class Latch {
  private release: () => void = () => {};
  private readonly released = new Promise<void>((resolve) => {
    this.release = resolve;
  });

  constructor(private readonly what: string) {}

  open(): void {
    this.release();
  }

  /** For what is under test: waits as long as it takes. */
  get opened(): Promise<void> {
    return this.released;
  }

  /** For the test: waits, and says what it has waited for in vain. */
  async reached(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`It never happened: ${this.what}`)), PATIENCE_MS);
    });
    await Promise.race([this.released, patience]).finally(() => clearTimeout(timer));
  }
}

/** Tries until it holds: for what happens behind the answer that a client has already. */
export async function eventually(holds: () => void | Promise<void>): Promise<void> {
  const patience = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await holds();
    } catch (error) {
      if (Date.now() > patience) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
