/** What a newer token may help against. A cookie, for one, is gone when its token expires. */
export const OUTDATED = /^TOKEN_(EXPIRED|STALE|SUPERSEDED|MISSING)$/;
/** What a token or its session is refused with for good: only a log-in helps. */
export const OVER = /^(TOKEN_(INVALID|REVOKED)|SESSION_EXPIRED|DENY_LIST_LOST|INVALID_GRANT)$/;

/** The JSON object of an answer, which can still be read afterwards; of no use where it is none. */
export async function jsonOf(response: Response): Promise<Record<string, unknown>> {
  if (!response.headers.get('content-type')?.includes('json')) return {};
  return response.clone().json().then(Object, Object);
}
