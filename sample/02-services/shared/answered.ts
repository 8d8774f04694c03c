import { ServiceUnavailableException } from '@nestjs/common';

const DEADLINE_MS = 2_000;

/** A reply of Redis in time, or 503. No client bounds a command that a hanging server has taken. */
export async function answered<T>(reply: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('No answer in time.')), DEADLINE_MS);
  });
  try {
    return await Promise.race([reply, deadline]);
  } catch (cause) {
    throw new ServiceUnavailableException('The users cannot be reached.', { cause });
  } finally {
    clearTimeout(timer);
  }
}
