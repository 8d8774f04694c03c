/** There was no answer in time. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/** The answer, or a rejection after so many milliseconds. */
export function withDeadline<T>(answer: Promise<T>, deadline: number): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => {
      // An answer may already lie in the socket while this process was busy: one more turn of the
      // event loop lets it in before the store is blamed.
      setImmediate(() => reject(new DeadlineError(`No answer within ${deadline} ms.`)));
    }, deadline);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
