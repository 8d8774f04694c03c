import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { Heartbeat } from '../../lib/redis/heartbeat.js';
import { NearValues, type Question } from '../../lib/redis/near-values.js';

const LEASE = 1_000;

function near(size = 100) {
  const clock = { time: 0 };
  const values = new NearValues(size, LEASE, () => clock.time);
  values.hear();
  const learn = (entries: Record<string, string | undefined>) => {
    const question = values.ask(Object.keys(entries));
    values.answered(question, Object.values(entries));
  };
  return { values, clock, learn };
}

describe('the near copy', () => {
  it('knows what was answered, absent entries too, all or nothing', () => {
    const { values, learn } = near();
    expect(values.recall(['a'])).toBeUndefined();
    learn({ a: '1', b: undefined });
    expect(values.recall(['b', 'a', 'b'])).toEqual([undefined, '1', undefined]);
    expect(values.recall(['a', 'c'])).toBeUndefined();
    expect(values.recallOne('a')).toBe('1');
    expect(values.recallOne('b')).toBeNull();
    expect(values.recallOne('c')).toBeUndefined();
  });

  it('forgets what has changed, and nothing else', () => {
    const { values, learn } = near();
    learn({ a: '1', b: undefined });
    values.invalidate('a');
    expect(values.recall(['a'])).toBeUndefined();
    expect(values.recall(['b'])).toEqual([undefined]);
    values.clear();
    expect(values.recall(['b'])).toBeUndefined();
  });

  describe('has another version', () => {
    it('when something it knew has changed, and not for news of anything else', () => {
      const { values, learn } = near();
      learn({ a: '1', b: undefined });
      const before = values.version;
      values.invalidate('never asked for');
      learn({ c: undefined });
      expect(values.version).toBe(before);
      values.invalidate('b');
      expect(values.version).not.toBe(before);
      const after = values.version;
      values.invalidate('b');
      expect(values.version).toBe(after);
    });

    it('when something has changed that it has not been asked for lately', () => {
      const { values, learn } = near(8);
      learn({ a: '1' });
      // So many others that `a` belongs to the older half.
      for (const key of ['b', 'c', 'd', 'e']) learn({ [key]: undefined });
      const before = values.version;
      values.invalidate('a');
      expect(values.version).not.toBe(before);
    });

    it('when something it knew has been dropped for something else', () => {
      const { values, learn } = near(4);
      learn({ a: '1' });
      const before = values.version;
      // News of it would not be noticed any more.
      for (const key of ['b', 'c', 'd', 'e']) learn({ [key]: undefined });
      expect(values.recall(['a'])).toBeUndefined();
      expect(values.version).not.toBe(before);
    });

    it('when something it knew was answered otherwise, before news of that came', () => {
      const { values, learn } = near();
      learn({ a: undefined });
      const before = values.version;
      learn({ a: undefined });
      expect(values.version).toBe(before);
      learn({ a: '1' });
      expect(values.version).not.toBe(before);
    });

    it('when everything may have changed, and none while nothing may be believed', () => {
      const { values, clock, learn } = near();
      learn({ a: '1' });
      const before = values.version;
      values.clear();
      expect(values.version).not.toBe(before);
      clock.time += LEASE;
      expect(values.version).toBeUndefined();
      values.deafen();
      expect(values.version).toBeUndefined();
    });

    it('whenever what it recalls is no longer what it recalled before: anything at all', () => {
      const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
      const step = fc.oneof(
        fc.record({ does: fc.constant('learn' as const), key, value: fc.option(fc.constant('1')) }),
        fc.record({ does: fc.constant('invalidate' as const), key }),
        fc.record({ does: fc.constant('clear' as const), key }),
      );
      fc.assert(
        fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
          const { values, learn } = near(4);
          learn({ start: '1' });
          const recalled = new Map<string, { version: number | undefined; value: unknown }>();
          for (const { does, key, ...rest } of steps) {
            // A value changes by a write, and of that there is news.
            if (does === 'learn' && values.recallOne(key) === undefined) {
              learn({ [key]: (rest as { value: string | null }).value ?? undefined });
            } else if (does === 'invalidate') values.invalidate(key);
            else if (does === 'clear') values.clear();
            const value = values.recallOne(key);
            if (value !== undefined) recalled.set(key, { version: values.version, value });
            for (const [name, then] of recalled) {
              if (then.version === values.version) expect(values.recallOne(name)).toBe(then.value);
            }
          }
        }),
      );
    });
  });

  it('does not keep an answer that news has overtaken', () => {
    const { values } = near();
    const question = values.ask(['a', 'b']);
    values.invalidate('a');
    values.answered(question, [undefined, undefined]);
    expect(values.recall(['a'])).toBeUndefined();
    expect(values.recall(['b'])).toEqual([undefined]);
  });

  it('keeps what was asked after the news, beside a question from before it', () => {
    const { values } = near();
    const early = values.ask(['a']);
    values.invalidate('a');
    const late = values.ask(['a']);
    values.answered(late, ['new']);
    values.answered(early, [undefined]);
    expect(values.recall(['a'])).toEqual(['new']);
    expect(values.awaited).toBe(0);
  });

  it.each(['clear', 'deafen', 'hear'] as const)('keeps no answer from before `%s`', (event) => {
    const { values, learn } = near();
    const question = values.ask(['a']);
    values[event]();
    values.hear();
    learn({ b: undefined });
    values.answered(question, [undefined]);
    expect(values.recall(['a'])).toBeUndefined();
    expect(values.recall(['b'])).toEqual([undefined]);
  });

  it('knows nothing while no news is heard', () => {
    const { values, learn } = near();
    learn({ a: '1' });
    values.deafen();
    expect(values.recall(['a'])).toBeUndefined();
    learn({ a: '1' });
    expect(values.recall(['a'])).toBeUndefined();
    expect(values.size).toBe(0);
  });

  it('counts for the lease from the sending of the last command that was answered', () => {
    const { values, clock, learn } = near();
    learn({ a: '1' });
    const beat = values.ask([]);
    clock.time = 900;
    values.answered(beat, []);
    clock.time = LEASE - 1;
    expect(values.recall(['a'])).toEqual(['1']);
    expect(values.trustedFor).toBe(1);
    clock.time = LEASE;
    expect(values.recall(['a'])).toBeUndefined();
    expect(values.recallOne('a')).toBeUndefined();
    // The server answers again. It would have told of a change before that.
    values.answered(values.ask([]), []);
    expect(values.recall(['a'])).toEqual(['1']);
  });

  it('an answer that comes late does not shorten the lease', () => {
    const { values, clock } = near();
    const early = values.ask(['a']);
    clock.time = 500;
    values.answered(values.ask([]), []);
    values.answered(early, ['1']);
    expect(values.trustedFor).toBe(LEASE);
  });

  it('waits for nothing after a failure', () => {
    const { values } = near();
    const question = values.ask(['a', 'a', 'b']);
    expect(values.awaited).toBe(2);
    values.unanswered(question);
    expect(values.awaited).toBe(0);
    expect(values.recall([])).toBeUndefined();
  });

  it('is bounded in entries and in what an entry may take', () => {
    const { values, learn } = near(10);
    learn({ mine: 'x' });
    for (let n = 0; n < 1_000; n++) {
      learn({ [`key ${n}`]: undefined });
      expect(values.recall(['mine'])).toEqual(['x']);
      expect(values.size).toBeLessThanOrEqual(10);
    }
    learn({ long: 'x'.repeat(10_000) });
    expect(values.recall(['long'])).toBeUndefined();
  });

  it('of size 0 knows nothing', () => {
    const { values, learn } = near(0);
    learn({ a: '1' });
    expect(values.recall(['a'])).toBeUndefined();
    expect(values.size).toBe(0);
  });
});

/**
 * A server, one connection to it, and the near copy at the other end. The server works in turns, as
 * Redis does: the answers of a turn leave first, the news of its changes after them. An answer that
 * has arrived reaches its caller later, while further news is heard.
 */
class World {
  readonly keys = ['a', 'b', 'c'];
  readonly clock = { time: 0 };
  readonly values = new NearValues(4, LEASE, () => this.clock.time);
  private readonly history = new Map<string, { at: number; change: number; value?: string }[]>();
  private readonly heard = new Map<string, number>();
  private changes = 0;
  private requests: Question[] = [];
  private answers: (() => void)[] = [];
  private news: (() => void)[] = [];
  private stream: (() => void)[] = [];
  private arrived: (() => void)[] = [];
  private readonly open = new Set<Question>();
  private isConnected = false;

  constructor() {
    for (const key of this.keys) this.history.set(key, [{ at: 0, change: 0 }]);
    this.connect();
  }

  connect(): void {
    if (this.isConnected) return;
    this.isConnected = true;
    this.values.hear();
  }

  disconnect(): void {
    this.isConnected = false;
    this.values.deafen();
    this.requests = [];
    this.answers = [];
    this.news = [];
    this.stream = [];
    const lost = [...this.open];
    this.arrived.push(() => {
      for (const question of lost) if (this.open.delete(question)) this.values.unanswered(question);
    });
  }

  ask(keys: string[]): void {
    if (!this.isConnected) return;
    const question = this.values.ask(keys);
    this.open.add(question);
    this.requests.push(question);
  }

  /** The server answers the oldest question. */
  serve(): void {
    const question = this.requests.shift();
    if (!question) return;
    const found = question.keys.map((key) => this.history.get(key)?.at(-1)?.value);
    const settle = () => {
      if (this.open.delete(question)) this.values.answered(question, found);
    };
    this.answers.push(() => this.arrived.push(settle));
  }

  /** Somebody writes or deletes. */
  change(keys: string[], isWrite: boolean): void {
    this.changes += 1;
    const change = this.changes;
    for (const key of keys) {
      const value = isWrite ? `${key}${change}` : undefined;
      this.history.get(key)?.push({ at: this.clock.time, change, ...(value && { value }) });
    }
    const isAll = keys.length === this.keys.length;
    if (!this.isConnected) return;
    this.news.push(() => {
      for (const key of keys) this.heard.set(key, change);
      if (isAll) this.values.clear();
      else for (const key of keys) this.values.invalidate(key);
    });
  }

  endTurn(): void {
    this.stream.push(...this.answers.splice(0), ...this.news.splice(0));
  }

  deliver(): void {
    this.stream.shift()?.();
  }

  settle(index: number): void {
    this.arrived.splice(index % Math.max(1, this.arrived.length), 1)[0]?.();
  }

  wait(time: number): void {
    this.endTurn();
    this.clock.time += time;
  }

  end(): void {
    this.disconnect();
    while (this.arrived.length > 0) this.settle(0);
  }

  /** What is known now was true after the last news of it, and within the lease. */
  check(): void {
    expect(this.values.size).toBeLessThanOrEqual(4);
    for (const key of this.keys) {
      const known = this.values.recall([key]);
      if (!known) continue;
      expect(this.isConnected).toBe(true);
      const states = this.history.get(key) ?? [];
      const possible = states
        .filter(({ change }, index) => {
          const until = states[index + 1]?.at ?? Number.POSITIVE_INFINITY;
          return change >= (this.heard.get(key) ?? 0) && until >= this.clock.time - LEASE;
        })
        .map(({ value }) => value);
      expect(possible).toContain(known[0]);
    }
  }
}

describe('whatever comes in between', () => {
  const someKeys = fc.subarray(['a', 'b', 'c'], { minLength: 1 });
  const step = fc.oneof(
    { weight: 6, arbitrary: someKeys.map((keys) => (world: World) => world.ask(keys)) },
    { weight: 1, arbitrary: fc.constant((world: World) => world.ask([])) },
    {
      weight: 4,
      arbitrary: fc.tuple(someKeys, fc.boolean()).map(
        ([keys, isWrite]) =>
          (world: World) =>
            world.change(keys, isWrite),
      ),
    },
    { weight: 6, arbitrary: fc.constant((world: World) => world.serve()) },
    { weight: 4, arbitrary: fc.constant((world: World) => world.endTurn()) },
    { weight: 8, arbitrary: fc.constant((world: World) => world.deliver()) },
    { weight: 6, arbitrary: fc.nat(5).map((index) => (world: World) => world.settle(index)) },
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 700 }).map((t) => (w: World) => w.wait(t)) },
    { weight: 1, arbitrary: fc.constant((world: World) => world.disconnect()) },
    { weight: 2, arbitrary: fc.constant((world: World) => world.connect()) },
  );

  it('nothing is known that news heard before has made untrue, or that is older than the lease', () => {
    let recalled = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 150 }), (steps) => {
        const world = new World();
        for (const act of steps) {
          act(world);
          world.check();
          if (world.values.recall(['a'])) recalled += 1;
        }
        world.end();
        expect(world.values.awaited).toBe(0);
      }),
      { numRuns: 2_000 },
    );
    // It is not true because nothing were ever known.
    expect(recalled).toBeGreaterThan(1_000);
  });
});

describe('the heartbeat', () => {
  it('beats while it is needed, one at a time, and then falls silent', async () => {
    jest.useFakeTimers();
    try {
      let beats = 0;
      let release = () => {};
      const heartbeat = new Heartbeat(async () => {
        beats += 1;
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        throw new Error('lost');
      }, 250);
      await jest.advanceTimersByTimeAsync(10_000);
      expect(beats).toBe(0);
      heartbeat.need();
      await jest.advanceTimersByTimeAsync(2_000);
      expect(beats).toBe(1);
      release();
      await jest.advanceTimersByTimeAsync(500);
      expect(beats).toBe(2);
      release();
      await jest.advanceTimersByTimeAsync(20_000);
      const before = beats;
      release();
      await jest.advanceTimersByTimeAsync(20_000);
      expect(beats).toBe(before);
      heartbeat.need();
      await jest.advanceTimersByTimeAsync(300);
      expect(beats).toBe(before + 1);
      heartbeat.stop();
    } finally {
      jest.useRealTimers();
    }
  });
});
