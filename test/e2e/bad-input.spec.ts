import { createHmac, generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { JwtStateErrorCode, JwtStateOptions } from 'nestjs-jwt-state';
import { expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { encode, forge } from '../support/forge.js';
import {
  claimsOf,
  clock,
  closeApps,
  log,
  PLATFORMS,
  refuseToLeak,
  SECRET,
  startApp,
  type TestApp,
} from '../support/test-app.js';

type Payload = Record<string, unknown>;

const ISSUER = 'https://issuer.example';
const AUDIENCE = 'shop';
const STRICT = {
  issuer: ISSUER,
  audience: AUDIENCE,
  denyList: { claims: ['tenant'] },
} satisfies Partial<JwtStateOptions>;

/** Made from a token that is right in every respect. */
type Attack = (valid: { token: string; payload: Payload }) => string;

const withHeader =
  (header: Record<string, unknown>): Attack =>
  ({ payload }) =>
    forge({ header, payload });
const withClaims =
  (claims: Payload): Attack =>
  ({ payload }) =>
    forge({ payload: { ...payload, ...claims } });
/** For what `JSON.stringify` cannot write. */
const withText =
  (name: string, json: string): Attack =>
  ({ payload }) =>
    forge({
      payload: JSON.stringify({ ...payload, [name]: '@' }).replace('"@"', json),
    });
const instead =
  (payload: unknown): Attack =>
  () =>
    forge({ payload });

const inSeconds = (milliseconds: number) => Math.floor((Date.now() + milliseconds) / 1000);
const HOUR = 3_600_000;

/** Correctly signed, whatever the parts are. */
const signed = (head: string, body: string) =>
  `${head}.${body}.${createHmac('sha256', SECRET).update(`${head}.${body}`).digest('base64url')}`;
type Rewrite = (part: string) => string;
const same: Rewrite = (part) => part;
const signedAgain = (token: string, head: Rewrite, body: Rewrite = same) => {
  const [header = '', payload = ''] = token.split('.');
  return signed(head(header), body(payload));
};
/** The same bytes in characters that no encoder writes: a spare bit is set, or a spare character there. */
const sloppy: Rewrite = (part) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const text = part.slice(part.lastIndexOf('.') + 1);
  if (text.length % 4 === 0) return `${part}A`;
  return `${part.slice(0, -1)}${alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]}`;
};

const FORM: Record<string, Attack> = {
  'no JWT at all': () => 'x',
  'two parts': ({ token }) => token.split('.').slice(0, 2).join('.'),
  'two parts and an empty signature': ({ token }) => `${token.split('.').slice(0, 2).join('.')}.`,
  'four parts': ({ token }) => `${token}.x`,
  'a header that is not JSON': ({ token }) => token.replace(/^[^.]+/, encode('{')),
  'a header that is a list': ({ token }) => token.replace(/^[^.]+/, encode('[]')),
  'a header that is null': ({ token }) => token.replace(/^[^.]+/, encode('null')),
  'base64 padding': ({ token }) => token.replace('.', '=.'),
  'a character more': ({ token }) => `${token}A`,
  'a header with bits that say nothing': ({ token }) => signedAgain(token, (head) => sloppy(head)),
  'a payload with bits that say nothing': ({ token }) =>
    signedAgain(
      token,
      (head) => head,
      (body) => sloppy(body),
    ),
  'a signature with bits that say nothing': ({ token }) => sloppy(token),
  'a payload that is not UTF-8': ({ payload }) => {
    const text = JSON.stringify({ ...payload, x: '@' });
    const [before = '', after = ''] = text.split('@');
    const bytes = Buffer.concat([Buffer.from(before), Buffer.from([0xc3]), Buffer.from(after)]);
    return signed(
      encode(JSON.stringify({ alg: 'HS256', typ: 'at+jwt' })),
      bytes.toString('base64url'),
    );
  },
};

const SIGNATURE: Record<string, Attack> = {
  'alg none, unsigned': ({ payload }) =>
    `${encode(JSON.stringify({ alg: 'none', typ: 'at+jwt' }))}.${encode(JSON.stringify(payload))}.`,
  'alg none, with a signature': withHeader({ alg: 'none' }),
  'alg None': withHeader({ alg: 'None' }),
  'alg nOnE': withHeader({ alg: 'nOnE' }),
  'no alg': withHeader({ alg: undefined }),
  'alg that is a list': withHeader({ alg: ['HS256'] }),
  'another key': ({ payload }) => forge({ payload, key: `${SECRET}!` }),
  'an empty key': ({ payload }) => forge({ payload, key: '' }),
  'HS384, correctly signed': ({ payload }) => forge({ payload, algorithm: 'HS384' }),
  'HS512, correctly signed': ({ payload }) => forge({ payload, algorithm: 'HS512' }),
  RS256: ({ payload }) => forge({ payload, algorithm: 'RS256', key: rsa.privateKey }),
  ES256: ({ payload }) => forge({ payload, algorithm: 'ES256', key: ec.privateKey }),
  'the payload of another': ({ token, payload }) =>
    token.replace(/\.[^.]+\./, `.${encode(JSON.stringify({ ...payload, sub: 'root' }))}.`),
};

const HEADER: Record<string, Attack> = {
  'typ JWT': withHeader({ typ: 'JWT' }),
  'typ next+jwt': withHeader({ typ: 'next+jwt' }),
  'no typ': withHeader({ typ: undefined }),
  'typ that is a list': withHeader({ typ: ['at+jwt'] }),
  crit: withHeader({ crit: ['exp'] }),
  'crit that is empty': withHeader({ crit: [] }),
  jku: withHeader({ jku: 'https://evil.example/keys' }),
  jwk: withHeader({ jwk: { kty: 'oct', k: encode('of the attacker') } }),
  x5u: withHeader({ x5u: 'https://evil.example/chain' }),
  x5c: withHeader({ x5c: ['MII'] }),
  'a kid that is unknown': withHeader({ kid: 'other' }),
  'a kid that is a path': withHeader({ kid: '../../dev/null' }),
};

const PAYLOAD: Record<string, Attack> = {
  'payload null': instead('null'),
  'payload that is a list': instead('[]'),
  'payload that is a string': instead('"alice"'),
  'payload that is a number': instead('42'),
  'payload that is true': instead('true'),
  'payload that is not JSON': instead('not JSON'),
  'payload that is empty': instead(''),
  'payload that has nothing in it': instead('{}'),
  'payload 2,000 levels deep': withText('deep', `${'['.repeat(2_000)}${']'.repeat(2_000)}`),
};

const CLAIMS: Record<string, Attack> = {
  ...Object.fromEntries(
    ['jti', 'sid', 'sub'].flatMap((name): [string, Attack][] => [
      [`no ${name}`, withClaims({ [name]: undefined })],
      [`${name} null`, withClaims({ [name]: null })],
      [`${name} that is an object`, withClaims({ [name]: { $ne: '' } })],
      [`${name} that is a list`, withClaims({ [name]: ['a'] })],
      [`${name} that is a number`, withClaims({ [name]: 7 })],
      [`${name} that is empty`, withClaims({ [name]: '' })],
      [`${name} with NUL in it`, withClaims({ [name]: 'a\0b' })],
      [`${name} with a lone surrogate`, withText(name, '"\\ud800"')],
    ]),
  ),
  ...Object.fromEntries(
    ['exp', 'iat', 'auth_time'].flatMap((name): [string, Attack][] => [
      [`no ${name}`, withClaims({ [name]: undefined })],
      [`${name} null`, withClaims({ [name]: null })],
      [`${name} 1e999, which is infinite`, withText(name, '1e999')],
      [`${name} that is a string`, withClaims({ [name]: String(inSeconds(HOUR / 10)) })],
      [`${name} that is negative`, withClaims({ [name]: -1 })],
      [`${name} that is a list`, withClaims({ [name]: [inSeconds(HOUR / 10)] })],
    ]),
  ),
  'exp in milliseconds': withClaims({ exp: Date.now() + HOUR / 10 }),
  'exp beyond the longest lifetime': withClaims({ exp: inSeconds(HOUR) }),
  'iat in the future': withClaims({ iat: inSeconds(HOUR / 20), exp: inSeconds(HOUR / 10) }),
  'iat in milliseconds': withClaims({ iat: Date.now() }),
  'nbf in the future': withClaims({ nbf: inSeconds(HOUR / 10) }),
  'nbf that is a string': withClaims({ nbf: '0' }),
  'another iss': withClaims({ iss: 'https://evil.example' }),
  'no iss': withClaims({ iss: undefined }),
  'iss that is a list': withClaims({ iss: [ISSUER] }),
  'another aud': withClaims({ aud: 'bank' }),
  'no aud': withClaims({ aud: undefined }),
  'aud that is empty': withClaims({ aud: [] }),
  'aud that is an object': withClaims({ aud: { shop: true } }),
  'no seen': withClaims({ seen: undefined }),
  'seen null': withClaims({ seen: null }),
  'seen that is a list': withClaims({ seen: [] }),
  'seen without an epoch': withClaims({ seen: {} }),
  'seen with marks that are no list': withClaims({ seen: { epoch: 'e', stale: 'all' } }),
  'seen with marks that are no ids': withClaims({ seen: { epoch: 'e', revoked: [1] } }),
  'seen with a deadline that is no time': withClaims({ seen: { epoch: 'e', until: 'never' } }),
  'a tenant that is an object': withClaims({ tenant: { name: 'acme' } }),
  'a tenant that is a list of objects': withClaims({ tenant: [{}] }),
};

const AUTHORIZATION: Record<string, [value: (token: string) => string, JwtStateErrorCode]> = {
  'Bearer alone': [() => 'Bearer', 'TOKEN_INVALID'],
  'two tokens': [(token) => `Bearer ${token} ${token}`, 'TOKEN_INVALID'],
  'something after the token': [(token) => `Bearer ${token} x`, 'TOKEN_INVALID'],
  'a comma after the token': [(token) => `Bearer ${token},x`, 'TOKEN_INVALID'],
  'a tab as separator': [(token) => `Bearer\t${token}`, 'TOKEN_INVALID'],
  'a no-break space as separator': [(token) => `Bearer\xa0${token}`, 'TOKEN_INVALID'],
  'a quoted token': [(token) => `Bearer "${token}"`, 'TOKEN_INVALID'],
  Basic: [() => `Basic ${btoa('alice:password')}`, 'TOKEN_MISSING'],
  Digest: [() => 'Digest username="alice"', 'TOKEN_MISSING'],
  nothing: [() => '', 'TOKEN_MISSING'],
  'the bare token': [(token) => token, 'TOKEN_MISSING'],
  Bearertoken: [(token) => `Bearer${token}`, 'TOKEN_MISSING'],
};

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });

describe.each(PLATFORMS)('Bad input: %s', (platform) => {
  const start = (options: Partial<JwtStateOptions> = STRICT) => startApp({ platform, options });

  afterEach(closeApps);

  it('what is forged here without a fault is accepted: the faults below are what is refused', async () => {
    const app = await start();
    const payload = claimsOf(await app.logIn('alice'));
    expectNoNewToken(await app.get('/me', forge({ payload })), { ...payload });
    const typ = 'application/AT+JWT';
    expectNoNewToken(await app.get('/me', forge({ payload, header: { typ } })));
    expectNoNewToken(
      await app.get('/me', forge({ payload: { ...payload, aud: ['x', AUDIENCE] } })),
    );
    expectNoNewToken(await app.get('/me', forge({ payload: { ...payload, nbf: payload.iat } })));
  });

  describe.each([
    ['form', FORM],
    ['signature', SIGNATURE],
    ['header', HEADER],
    ['payload', PAYLOAD],
    ['claims', CLAIMS],
  ])('a token with a bad %s is 401, and the store is never asked:', (_name, attacks) => {
    it.each(Object.entries(attacks))('%s', async (_name, attack) => {
      const app = await start();
      const token = await app.logIn('alice');
      const bad = attack({ token, payload: claimsOf(token) });
      app.store.lookups = 0;
      expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
      expectRefusal(await app.post('/auth/refresh-token', bad), 'TOKEN_INVALID');
      await expectServiceRefuses(app, bad);
      expect(app.store.lookups).toBe(0);
    });
  });

  it('an expired token is 401 TOKEN_EXPIRED, and the store is never asked', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    clock.advance('16m');
    app.store.lookups = 0;
    expectRefusal(await app.get('/me', token), 'TOKEN_EXPIRED');
    const ancient = forge({ payload: { ...claimsOf(token), exp: 0, iat: 0 } });
    expectRefusal(await app.get('/me', ancient), 'TOKEN_EXPIRED');
    expect(app.store.lookups).toBe(0);
  });

  it('a record like those that lead to successors is no bearer token, though we signed it', async () => {
    const app = await start({});
    const payload = claimsOf(await app.logIn('alice'));
    const record = { of: payload.jti, at: Date.now(), claims: payload, ...payload };
    const bad = forge({ header: { typ: 'next+jwt' }, payload: record });
    expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
  });

  it('a public key is no HMAC secret, and its kid is the only one', async () => {
    const app = await start({ keys: { algorithm: 'RS256', privateKey: rsa.privateKey } });
    const token = await app.logIn('alice');
    const payload = claimsOf(token);
    const header = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString());
    const signed = { payload, algorithm: 'RS256', key: rsa.privateKey } as const;
    expectNoNewToken(await app.get('/me', forge({ ...signed, header })));
    for (const kid of ['another', undefined]) {
      const bad = forge({ ...signed, header: { ...header, kid } });
      expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
    }
    const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' });
    const der = rsa.publicKey.export({ format: 'der', type: 'spki' });
    for (const key of [pem, pem.toString().trim(), pem.toString().replaceAll('\n', '\\n'), der]) {
      const bad = forge({ payload, key, header: { ...header, alg: 'HS256' } });
      expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
    }
  });

  describe('an Authorization header', () => {
    it.each(Object.entries(AUTHORIZATION))('with %s is refused', async (_name, [value, code]) => {
      const app = await start();
      const authorization = value(await app.logIn('alice'));
      app.store.lookups = 0;
      expectRefusal(await app.send('/me', { authorization }), code);
      expect(app.store.lookups).toBe(0);
    });

    it.each([['bearer '], ['BEARER '], ['Bearer   ']])(
      'may say “%s”: the scheme has no case, and one space or more',
      async (scheme) => {
        const app = await start();
        const authorization = `${scheme}${await app.logIn('alice')}`;
        expectNoNewToken(await app.send('/me', { authorization }), { sub: 'alice' });
      },
    );

    it('with a good and a malformed value is refused', async () => {
      const app = await start();
      const authorization = [`Bearer ${await app.logIn('alice')}`, 'Bearer a b'];
      const { status } = await app.send('/me', { authorization });
      expect([400, 401]).toContain(status);
    });

    it('of 10 kB is 401; of 20 kB Node answers 431 by itself, and lives on', async () => {
      const app = await start();
      const token = await app.logIn('alice');
      expectRefusal(await app.get('/me', 'x'.repeat(10_000)), 'TOKEN_INVALID');
      const large = await app.send('/me', { authorization: `Bearer ${'x'.repeat(20_000)}` });
      expect(large.status).toBe(431);
      expectNoNewToken(await app.get('/me', token));
    });
  });

  it('no token, signature or secret stands in a log line or in the body of an error', async () => {
    const app = await start();
    const token = await app.logIn('alice');
    const payload = claimsOf(token);
    for (const attacks of [FORM, SIGNATURE, HEADER, PAYLOAD, CLAIMS]) {
      for (const attack of Object.values(attacks)) await app.get('/me', attack({ token, payload }));
    }
    await app.change('alice', { plan: 'premium' });
    app.users.fail('throws');
    expectRefusal(await app.get('/me', token), 'CLAIMS_UNAVAILABLE');
    app.users.recover();
    app.users.set('alice', { note: 'x'.repeat(7_000) });
    expect((await app.get('/me', token)).body.code).toBe('TOKEN_TOO_LARGE');
    app.store.fail();
    for (let time = 0; time < 4; time++) await app.get('/me', token);
    // The bodies were looked through as they came. That something was logged at all:
    expect(log.text).toMatch(/ERROR The claims source failed/);
    expect(log.text).toMatch(/ERROR TOKEN_TOO_LARGE/);
    expect(log.text).toMatch(/ERROR The deny list does not answer/);
    refuseToLeak(log.text, 'the log');
  });
});

async function expectServiceRefuses(app: TestApp, bad: string): Promise<void> {
  const refusal = { status: 401, code: 'TOKEN_INVALID' };
  await expect(app.tokens.verify(bad)).rejects.toMatchObject(refusal);
  await expect(app.tokens.refresh(bad)).rejects.toMatchObject(refusal);
  const target = { status: 422, code: 'INVALID_TARGET' };
  await expect(app.tokens.revoke({ token: bad })).rejects.toMatchObject(target);
}
