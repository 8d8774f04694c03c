import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until something holds, and fails when it does not in time (milliseconds). */
export async function until(
  holds: () => boolean | Promise<boolean>,
  within = 2_000,
): Promise<void> {
  const deadline = performance.now() + within;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Not within ${within} ms.`);
    await sleep(1);
  }
}
