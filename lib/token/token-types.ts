/*
 * The `typ` of everything this module signs. Each is accepted in one place and nowhere else
 * (RFC 8725 §3.11), so no record can be presented as a token, nor one kind of token as another.
 */

/** An access token (RFC 9068 §2.1). */
export const ACCESS_TOKEN_TYPE = 'at+jwt';
/** A refresh token. */
export const REFRESH_TOKEN_TYPE = 'rt+jwt';
/** The record that leads from a superseded token to its successor. */
export const SUCCESSOR_TYPE = 'next+jwt';
/** The record of the claims that a session keeps. */
export const SESSION_TYPE = 'session+jwt';
