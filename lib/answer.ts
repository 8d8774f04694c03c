/**
 * A value that may be there already. What is known without asking anybody is not wrapped into a
 * promise: on the path of every request, each one costs a turn of the event loop.
 */
export type Answer<T> = T | Promise<T>;

export function isLater<T>(answer: Answer<T>): answer is Promise<T> {
  return answer instanceof Promise;
}
