/**
 * Whether a client of @redis/client keeps one connection, over which everything is done in the order in
 * which it was asked. A pool keeps several, and so may one for Sentinel; of clients that are not known
 * that is assumed, too. Told by what only one connection has: it can be put on another database.
 */
export function hasOneConnection(client: object): boolean {
  const { select, duplicate } = client as { select?: unknown; duplicate?: unknown };
  return typeof select === 'function' && typeof duplicate === 'function';
}
