import { v7 as uuidv7 } from 'uuid';

/**
 * A new `jti`: a UUIDv7 whose time lies at least one millisecond after its predecessor's, so that
 * a client can tell the newer of two tokens of one session, whichever response arrives first and
 * however far apart the clocks of the issuing hosts are.
 */
export function nextTokenId(now: number, ...predecessors: (string | undefined)[]): string {
  const times = predecessors.map((jti) => (jti === undefined ? 0 : (timeOfTokenId(jti) ?? 0) + 1));
  return uuidv7({ msecs: Math.max(now, ...times) });
}

/** A `jti` of that millisecond. */
export function tokenIdAt(at: number): string {
  return uuidv7({ msecs: at });
}

/** The millisecond in a UUIDv7, or `undefined` for an id of another kind. */
export function timeOfTokenId(id: string): number | undefined {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-7/.test(id)) return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}
