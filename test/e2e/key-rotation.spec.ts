import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { JwtStateConfigError, type JwtStateOptions, type KeyOptions } from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { type Forgery, forge } from '../support/forge.js';
import {
  claimsOf,
  clock,
  closeApps,
  MATRIX,
  PLATFORMS,
  SECRET,
  startApp,
} from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

const ecPair = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const [one, two] = [ecPair(), ecPair()];
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });

const OLD: KeyOptions = { algorithm: 'ES256', privateKey: one.privateKey, kid: 'old' };
const OLD_PUBLIC: KeyOptions = { algorithm: 'ES256', publicKey: one.publicKey, kid: 'old' };
const NEW: KeyOptions = { algorithm: 'ES256', privateKey: two.privateKey, kid: 'new' };
const NEW_PUBLIC: KeyOptions = { algorithm: 'ES256', publicKey: two.publicKey, kid: 'new' };
/** Without a name, as most begin. It is its own other half. */
const FIRST_SECRET: KeyOptions = { algorithm: 'HS256', secret: SECRET };

const NAMED_SECRET: KeyOptions = {
  algorithm: 'HS256',
  secret: 'the next secret has a name, so that tokens can tell it',
  kid: 'new',
};

/** As the guide has it: the old key alone, then publish, sign, drop. */
const ROLLOUTS = {
  'the same algorithm': [[OLD], [OLD, NEW_PUBLIC], [NEW, OLD_PUBLIC], [NEW]],
  'HS256 to ES256': [[FIRST_SECRET], [FIRST_SECRET, NEW], [NEW, FIRST_SECRET], [NEW]],
  'a secret without kid to one that has one': [
    [FIRST_SECRET],
    [FIRST_SECRET, NAMED_SECRET],
    [NAMED_SECRET, FIRST_SECRET],
    [NAMED_SECRET],
  ],
} satisfies Record<string, [KeyOptions[], KeyOptions[], KeyOptions[], KeyOptions[]]>;

const headerOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString());

describe.each(MATRIX)('Key rotation: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let users: Users;
  const start = (keys: KeyOptions[], options: Partial<JwtStateOptions> = {}) =>
    startApp({ platform, store, users, options: { keys, ...options } });

  beforeEach(() => {
    store = TestStore.create(kind);
    users = new Users();
  });
  afterEach(closeApps);

  describe.each(Object.entries(ROLLOUTS))('%s', (_change, [begin, publish, sign, drop]) => {
    const steps = [
      [begin, publish],
      [publish, sign],
      [sign, drop],
    ] as const;

    it.each(steps.map(([before, after], index) => [index + 1, before, after] as const))(
      'while step %i is rolled out, each instance takes the tokens of the other',
      async (_step, before, after) => {
        const instances = [await start(before), await start(after)];
        for (const issuing of instances) {
          const token = await issuing.logIn('alice');
          for (const app of instances) expectNoNewToken(await app.get('/me', token));
        }
      },
    );

    it('one client is served through all of it, whichever instance answers, and never refused', async () => {
      const first = await start(begin);
      let token = await first.logIn('alice');
      let version = 0;
      for (const [before, after] of steps) {
        const instances = [await start(before), await start(after)];
        for (const app of [...instances, ...instances]) {
          // Before a key is dropped, the longest lifetime has passed: what it signed has expired.
          clock.advance('10m');
          token = (await app.post('/auth/refresh-token', token)).body.access_token;
          version += 1;
          await app.change('alice', { version });
          for (const other of instances.filter((instance) => instance !== app)) {
            token = expectNewToken(await other.get('/me', token), { version });
          }
        }
      }
      expect(headerOf(token).kid).toBe('new');
    });

    it('a successor recorded under the old key is found after the switch', async () => {
      const [publishing, switched] = [await start(publish), await start(sign)];
      const token = await publishing.logIn('alice');
      await publishing.change('alice', { plan: 'premium' });
      const successor = claimsOf(expectNewToken(await publishing.get('/me', token), {}));
      const reply = await switched.get('/me', token);
      expect(reply.body).toEqual(successor);
      expect(headerOf(expectNewToken(reply, { jti: successor.jti })).kid).toBe('new');
    });

    it('and one recorded under the new key by an instance that has not switched yet', async () => {
      const [publishing, switched] = [await start(publish), await start(sign)];
      const token = await publishing.logIn('alice');
      await switched.change('alice', { plan: 'premium' });
      const successor = claimsOf(expectNewToken(await switched.get('/me', token), {}));
      expectNewToken(await publishing.get('/me', token), { jti: successor.jti, plan: 'premium' });
    });

    it('a session on refresh tokens goes on for weeks, and keeps what it has chosen under the old key', async () => {
      const options = {
        refresh: { tokens: { expiresIn: '14d' } },
        session: { maxAge: '60d' },
      } as const;
      const first = await start(begin, options);
      const { accessToken, refreshToken } = await first.logInFor('alice');
      await first.tokens.reissue(await first.tokens.verify(accessToken), { tenant: 'acme' });
      let token = refreshToken;
      // 9 days each: the old key signs no more after 18, and is gone after 36.
      for (const keys of [publish, sign, sign, drop, drop]) {
        clock.advance('9d');
        const app = await start(keys, options);
        const { body } = await app.post('/auth/refresh-token', undefined, { refresh_token: token });
        expectNoNewToken(await app.get('/me', body.access_token), { tenant: 'acme' });
        token = body.refresh_token;
      }
    });

    it('a token of a key that was dropped too early is 401', async () => {
      const token = await (await start(begin)).logIn('alice');
      const app = await start(drop);
      expectRefusal(await app.get('/me', token), 'TOKEN_INVALID');
      await expect(app.tokens.verify(token)).rejects.toMatchObject({ code: 'TOKEN_INVALID' });
    });
  });

  it('an instance that signs before the others know the key is refused by them: publish first', async () => {
    const [early, late] = [await start([NEW, OLD_PUBLIC]), await start([OLD])];
    expectRefusal(await late.get('/me', await early.logIn('alice')), 'TOKEN_INVALID');
  });

  it('every token is signed by the first key, and names it', async () => {
    const app = await start([NEW, OLD, FIRST_SECRET]);
    expect(headerOf(await app.logIn('alice'))).toEqual({ alg: 'ES256', typ: 'at+jwt', kid: 'new' });
  });

  it('a list whose first key cannot sign makes a service that only verifies', async () => {
    const app = await startApp({
      platform,
      store,
      account: false,
      options: { keys: [NEW_PUBLIC, OLD] },
    });
    await expect(app.tokens.issue('alice')).rejects.toMatchObject({ code: 'NO_SIGNING_KEY' });
  });
});

describe.each(PLATFORMS)('A ring of keys: %s', (platform) => {
  const NAMED = 'a secret that has a name, and is long enough to sign with';
  const keys: KeyOptions[] = [
    { algorithm: 'ES256', privateKey: one.privateKey, kid: 'ec' },
    { algorithm: 'RS256', privateKey: rsa.privateKey, kid: 'rsa' },
    { algorithm: 'HS256', secret: NAMED, kid: 'hs' },
    FIRST_SECRET,
  ];
  const EC = { algorithm: 'ES256', key: one.privateKey } as const;
  const RSA = { algorithm: 'RS256', key: rsa.privateKey } as const;
  const HS = { algorithm: 'HS256', key: NAMED } as const;
  const NAMELESS = { algorithm: 'HS256', key: SECRET } as const;
  type Signed = Omit<Forgery, 'payload'>;
  const under = (kid: unknown, signed: Signed): Signed => ({
    ...signed,
    header: { ...signed.header, kid },
  });

  const publicForms = (name: string, key: KeyObject): [string, string | Buffer][] => {
    const pem = key.export({ format: 'pem', type: 'spki' }).toString();
    const jwk = key.export({ format: 'jwk' });
    return [
      [`the PEM of ${name}`, pem],
      [`the PEM of ${name}, trimmed`, pem.trim()],
      [`the DER of ${name}`, key.export({ format: 'der', type: 'spki' })],
      [`the JWK of ${name}`, JSON.stringify(jwk)],
      [
        `the JWK of ${name}, as it is published`,
        JSON.stringify({ ...jwk, kid: name, alg: 'ES256', use: 'sig' }),
      ],
      [`the coordinate or modulus of ${name}`, String(jwk.x ?? jwk.n)],
    ];
  };

  const CONFUSION: Record<string, Signed> = {
    ...Object.fromEntries(
      [...publicForms('ec', one.publicKey), ...publicForms('rsa', rsa.publicKey)].flatMap(
        ([name, key]) =>
          ['ec', 'rsa', 'hs', undefined].map((kid): [string, Signed] => [
            `${name} as HMAC secret, under the kid ${kid}`,
            under(kid, { algorithm: 'HS256', key }),
          ]),
      ),
    ),
    'the EC key under the kid of the RSA key': under('rsa', EC),
    'the RSA key under the kid of the EC key': under('ec', RSA),
    'the EC key under the kid of the secret': under('hs', EC),
    'the EC key under no kid': under(undefined, EC),
    'the RSA key under no kid': under(undefined, RSA),
    'the named secret under the kid of the EC key': under('ec', HS),
    'the named secret under no kid': under(undefined, HS),
    'the nameless secret under the kid of the named one': under('hs', NAMELESS),
    'the nameless secret under the kid of the EC key': under('ec', NAMELESS),
    'the nameless secret under the kid “undefined”': under('undefined', NAMELESS),
    'the EC key, said to be RS256': { ...EC, header: { alg: 'RS256', kid: 'ec' } },
    'the EC key, said to be HS256': { ...EC, header: { alg: 'HS256', kid: 'ec' } },
    'the EC key, said to be none': { ...EC, header: { alg: 'none', kid: 'ec' } },
    'the RSA key, said to be RS512': { ...RSA, header: { alg: 'RS512', kid: 'rsa' } },
    'the RSA key, said to be PS256': { ...RSA, header: { alg: 'PS256', kid: 'rsa' } },
    ...Object.fromEntries(
      [null, 7, true, ['ec'], {}, '', 'EC', 'ec ', 'other', '__proto__', 'constructor', '0'].map(
        (kid) => [`the EC key under the kid ${JSON.stringify(kid)}`, under(kid, EC)],
      ),
    ),
    ...Object.fromEntries(
      [null, 7, '', '__proto__', 'constructor', 'toString'].map((kid) => [
        `the nameless secret under the kid ${JSON.stringify(kid)}`,
        under(kid, NAMELESS),
      ]),
    ),
  };

  afterEach(closeApps);

  it('takes each key under its own name: what follows is refused for the confusion alone', async () => {
    const app = await startApp({ platform, options: { keys } });
    const payload = claimsOf(await app.logIn('alice'));
    const right = [under('ec', EC), under('rsa', RSA), under('hs', HS), under(undefined, NAMELESS)];
    for (const signed of right) {
      expectNoNewToken(await app.get('/me', forge({ payload, ...signed })), { sub: 'alice' });
    }
  });

  it.each(Object.entries(CONFUSION))('refuses %s', async (_name, signed) => {
    const app = await startApp({ platform, options: { keys } });
    const bad = forge({ payload: claimsOf(await app.logIn('alice')), ...signed });
    app.store.lookups = 0;
    expectRefusal(await app.get('/me', bad), 'TOKEN_INVALID');
    await expect(app.tokens.verify(bad)).rejects.toMatchObject({ code: 'TOKEN_INVALID' });
    expect(app.store.lookups).toBe(0);
  });
});

describe.each(PLATFORMS)('The published keys: %s', (platform) => {
  const PATH = '/.well-known/jwks.json';
  const PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
  const keys = [
    NEW,
    { algorithm: 'RS256', privateKey: rsa.privateKey, kid: 'rsa' },
    OLD_PUBLIC,
    { ...FIRST_SECRET, kid: 'hs' },
  ] as KeyOptions[];
  const start = (options: Partial<JwtStateOptions>) => startApp({ platform, options });

  afterEach(closeApps);

  it('are published only where that is asked for', async () => {
    for (const jwks of [undefined, false]) {
      const app = await start({ keys: [NEW], jwks });
      expect((await app.get(PATH)).status).toBe(404);
    }
  });

  it('are there for everybody, though every other route is guarded', async () => {
    const app = await start({ keys, jwks: true, guard: 'global' });
    const reply = await app.get(PATH);
    expect(reply.status).toBe(200);
    expect(reply.headers.get('content-type')).toMatch(/^application\/jwk-set\+json(;|$)/);
    expect(reply.headers.get('cache-control')).toBe('public, max-age=300');
    expect(reply.body.keys.map(({ kid }: { kid: string }) => kid)).toEqual(['new', 'rsa', 'old']);
    expectRefusal(await app.get('/me'), 'TOKEN_MISSING');
  });

  it('hold the public members of key pairs, and nothing else', async () => {
    const app = await start({ keys, jwks: true });
    const { x, y } = two.publicKey.export({ format: 'jwk' });
    const { n, e } = rsa.publicKey.export({ format: 'jwk' });
    const { body } = await app.get(PATH);
    expect(body.keys.slice(0, 2)).toEqual([
      { kty: 'EC', crv: 'P-256', x, y, kid: 'new', alg: 'ES256', use: 'sig' },
      { kty: 'RSA', n, e, kid: 'rsa', alg: 'RS256', use: 'sig' },
    ]);
    for (const name of PRIVATE) expect(JSON.stringify(body)).not.toContain(`"${name}":`);
    const secrets = [one, two, rsa].map(({ privateKey }) => privateKey.export({ format: 'jwk' }).d);
    for (const secret of [...secrets, SECRET]) expect(JSON.stringify(body)).not.toContain(secret);
  });

  it('have another path where one is given', async () => {
    const app = await start({ keys: [NEW], jwks: 'keys/public.json' });
    expect((await app.get('/keys/public.json')).body.keys).toHaveLength(1);
    expect((await app.get(PATH)).status).toBe(404);
  });

  it('are all that another library needs to verify a token', async () => {
    const app = await start({ keys, jwks: true });
    const token = await app.logIn('alice');
    const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(app.url + PATH)), {
      typ: 'at+jwt',
    });
    expect(payload.sub).toBe('alice');
  });

  it('are what a service publishes that has public keys only', async () => {
    const app = await startApp({
      platform,
      account: false,
      options: { keys: [NEW_PUBLIC], jwks: true },
    });
    expect((await app.get(PATH)).body.keys).toMatchObject([{ kid: 'new' }]);
  });

  it.each<[string, Partial<JwtStateOptions>]>([
    ['a secret only', { keys: [FIRST_SECRET] }],
    [
      'the keys of another service',
      { keys: { jwksUri: 'http://127.0.0.1:1', algorithms: ['ES256'] } },
    ],
  ])('stop the boot of a service that has %s', async (_name, options) => {
    const boot = startApp({ platform, account: false, options: { ...options, jwks: true } });
    await expect(boot).rejects.toThrow(JwtStateConfigError);
    await expect(boot).rejects.toThrow(/no public key of its own to publish/);
  });
});
