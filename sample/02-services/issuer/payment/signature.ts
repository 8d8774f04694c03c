import { createHmac, timingSafeEqual } from 'node:crypto';

/** How far the sender's clock may differ, and how long a recorded request can be sent again. */
const TOLERANCE_SECONDS = 5 * 60;
const HEADER = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/;

/**
 * Whether the sender knows the secret and has signed just now: `t=<seconds>,v1=<hex>`, an
 * HMAC-SHA256 over `<seconds>.<body>`. Over the bytes that came: parsed and written again, the body
 * may be another one.
 */
export function isSigned(
  header: string | undefined,
  rawBody: Buffer,
  secret: string,
  now = Date.now(),
): boolean {
  const [, time = '', signature = ''] = HEADER.exec(header ?? '') ?? [];
  const expected = createHmac('sha256', secret).update(`${time}.`).update(rawBody).digest();
  const given = Buffer.from(signature, 'hex');
  const isGenuine = given.length === expected.length && timingSafeEqual(given, expected);
  return isGenuine && Math.abs(now / 1000 - Number(time)) <= TOLERANCE_SECONDS;
}
