/** What a newer token may help against. A cookie, for one, is gone when its token expires. */
export const OUTDATED = /^TOKEN_(EXPIRED|STALE|SUPERSEDED|MISSING)$/;
/** What a token or its session is refused with for good: only a log-in helps. */
export const OVER = /^(TOKEN_(INVALID|REVOKED)|SESSION_EXPIRED|DENY_LIST_LOST|INVALID_GRANT)$/;

/** Others, such as `application/x-ndjson`, may never end. */
export function isJson(response: Response): boolean {
  return /^(application\/|[^;]*\+)json *(;|$)/i.test(response.headers.get('content-type') ?? '');
}

/** The JSON object of an answer, which can still be read afterwards; of no use where it is none. */
export async function jsonOf(response: Response): Promise<Record<string, unknown>> {
  return isJson(response) ? response.clone().json().then(Object, Object) : {};
}

/**
 * Why it was refused: an exception filter of the application may have left the code out of the body, and
 * the answer to a `HEAD` has none. Then it is in a header, or in the challenge (RFC 6750 §3).
 * @param body what its JSON holds
 */
export function codeOf({ headers }: Response, body: Record<string, unknown>): string {
  const code = `${body.code}`;
  if (OUTDATED.test(code) || OVER.test(code) || code === 'INVALID_REQUEST') return code;
  const [, quoted] = /\bcode="(\w+)"/.exec(headers.get('www-authenticate') ?? '') ?? [];
  return headers.get('jwt-state-error') ?? quoted ?? '';
}

/** The token in a header: `Bearer <token>`, or bare. */
export function tokenIn(response: Response, header: string | false): string {
  return ((header && response.headers.get(header)) || '').replace(/^Bearer +/i, '');
}
