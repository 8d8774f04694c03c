import { generateKeyPairSync, KeyObject, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { type JWK, jwtVerify, SignJWT } from 'jose';
import { JwtStateConfigError, KeysUnavailableError } from '../../lib/jwt-state.errors.js';
import type { Algorithm, RemoteKeyOptions } from '../../lib/keys/key-options.js';
import { createRemoteKeys, type RemoteKeys } from '../../lib/keys/remote-keys.js';
import { CapturedLog } from '../support/captured-log.js';
import { eventually } from '../support/latch.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

// Made once: RSA keys take their time.
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const shortRsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const ed25519 = generateKeyPairSync('ed25519');

const jwkOf = (key: KeyObject, members: JWK = {}): JWK => ({
  ...(key.export({ format: 'jwk' }) as JWK),
  ...members,
});
const rs = (kid: string, members: JWK = {}) => jwkOf(rsa.publicKey, { kid, ...members });
const json = (body: unknown): RequestListener => {
  const text = JSON.stringify(body);
  return (_, response) => void response.setHeader('content-type', 'application/json').end(text);
};
const jwks = (...keys: unknown[]) => json({ keys });
const status =
  (code: number, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    void response.writeHead(code, headers).end('{"keys":[]}');
const hang: RequestListener = () => {};

/** The other service. `answer` is what its endpoint does; a test may change it at any time. */
class Issuer {
  requests = 0;
  readonly paths: string[] = [];
  answer: RequestListener = jwks(rs('k1'));
  private server: Server | undefined;
  private port = 0;

  async open(): Promise<void> {
    this.server = createServer((request, response) => {
      this.requests += 1;
      this.paths.push(request.url ?? '');
      this.answer(request, response);
    }).listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = (this.server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    if (!this.server?.listening) return;
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  /** Lets requests in and answers them when the test says so. */
  hold(): () => void {
    const { answer } = this;
    const held: (() => void)[] = [];
    this.answer = (request, response) => void held.push(() => answer(request, response));
    return () => {
      this.answer = answer;
      for (const release of held) release();
    };
  }

  get uri(): string {
    return `http://127.0.0.1:${this.port}/jwks.json?key=query-secret`;
  }
}

const log = new CapturedLog();
let issuer: Issuer;
let time: number;

beforeEach(async () => {
  Logger.overrideLogger(log);
  log.clear();
  time = 1_800_000_000_000;
  issuer = new Issuer();
  await issuer.open();
});
afterEach(() => issuer.close());

const remote = (options: Partial<RemoteKeyOptions> = {}) =>
  createRemoteKeys({ jwksUri: issuer.uri, algorithms: ['RS256'], ...options }, { now: () => time });

/** How `find` ends: with a key, without one, or with an error. */
async function found(keys: RemoteKeys, kid: string | undefined, alg: Algorithm = 'RS256') {
  try {
    return (await keys.find({ alg, kid })) ? 'key' : 'none';
  } catch (error) {
    expect(error).toBeInstanceOf(KeysUnavailableError);
    return 'unavailable';
  }
}

/** What `find` says without waiting for anything. */
function foundAtOnce(keys: RemoteKeys, kid: string, alg: Algorithm = 'RS256') {
  const answer = keys.find({ alg, kid });
  if (answer instanceof Promise) {
    answer.catch(() => {});
    return 'promise';
  }
  return answer === undefined ? 'none' : 'key';
}

/** Remote keys that have fetched a set with `k1`, one request ago. */
async function warm(options: Partial<RemoteKeyOptions> = {}): Promise<RemoteKeys> {
  const keys = remote(options);
  expect(await found(keys, 'k1')).toBe('key');
  expect(issuer.requests).toBe(1);
  return keys;
}

describe('a token that names a key of the set', () => {
  it('verifies with it', async () => {
    issuer.answer = jwks(rs('r'), jwkOf(p256.publicKey, { kid: 'e' }));
    const keys = remote({ algorithms: ['RS256', 'PS512', 'ES256'] });
    const signers = { RS256: rsa, PS512: rsa, ES256: p256 } as const;
    for (const [alg, { privateKey }] of Object.entries(signers)) {
      const kid = alg === 'ES256' ? 'e' : 'r';
      const token = await new SignJWT({ sub: 'alice' })
        .setProtectedHeader({ alg, kid })
        .sign(privateKey);
      const key = await keys.find({ alg: alg as Algorithm, kid });
      expect((await jwtVerify(token, key as KeyObject)).payload.sub).toBe('alice');
      await expect(jwtVerify(`${token.slice(0, -8)}AAAAAAAA`, key as KeyObject)).rejects.toThrow();
    }
    expect(issuer.requests).toBe(1);
  });

  it('is answered at once from then on, with the same KeyObject', async () => {
    const keys = remote();
    const first = await keys.find({ alg: 'RS256', kid: 'k1' });
    expect(first).toBeInstanceOf(KeyObject);
    expect(first?.type).toBe('public');
    time += 4 * MINUTE;
    expect(keys.find({ alg: 'RS256', kid: 'k1' })).toBe(first);
    expect(issuer.requests).toBe(1);
  });

  it('shares the first fetch with all who wait for it', async () => {
    const keys = remote();
    const all = Array.from({ length: 100 }, () => found(keys, 'k1'));
    expect(new Set(await Promise.all(all))).toEqual(new Set(['key']));
    expect(issuer.requests).toBe(1);
  });
});

describe('a token that cannot be answered by any set', () => {
  it('costs no fetch: without a kid, or signed with something else', async () => {
    const keys = remote();
    expect(keys.find({ alg: 'RS256', kid: undefined })).toBeUndefined();
    for (const alg of ['RS512', 'ES256', 'HS256', 'none'] as Algorithm[]) {
      expect(keys.accepts(alg)).toBe(false);
      expect(keys.find({ alg, kid: 'k1' })).toBeUndefined();
    }
    expect(keys.accepts('RS256')).toBe(true);
    expect(keys.algorithms).toEqual(['RS256']);
    expect(issuer.requests).toBe(0);
  });
});

describe('a set', () => {
  it('is used until it reaches maxAge, and then fetched again', async () => {
    const keys = await warm({ maxAge: '1m', cooldown: '1s' });
    issuer.answer = jwks(rs('k2'));
    time += MINUTE;
    expect(await found(keys, 'k1')).toBe('none');
    expect(issuer.requests).toBe(2);
    expect(foundAtOnce(keys, 'k2')).toBe('key');
  });

  it('is refreshed behind an answer from half of maxAge on, so that nobody waits', async () => {
    const keys = await warm({ maxAge: '2m' });
    time += MINUTE - 1;
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    expect(issuer.requests).toBe(1);
    time += 1;
    const release = issuer.hold();
    for (let i = 0; i < 10; i++) expect(foundAtOnce(keys, 'k1')).toBe('key');
    await eventually(() => expect(issuer.requests).toBe(2));
    release();
    await eventually(() => {
      // Past the age of the first set: the second one answers.
      time += 70 * SECOND;
      const answer = foundAtOnce(keys, 'k1');
      time -= 70 * SECOND;
      expect(answer).toBe('key');
    });
  });

  it('does not live on because the clock was set back', async () => {
    const keys = await warm();
    time -= 60 * MINUTE;
    expect(foundAtOnce(keys, 'k1')).toBe('promise');
    await eventually(() => expect(issuer.requests).toBe(2));
  });
});

describe('a kid that the set does not have', () => {
  it('is unknown at once while the set is new', async () => {
    const keys = await warm();
    time += 30 * SECOND - 1;
    expect(foundAtOnce(keys, 'made-up')).toBe('none');
    expect(issuer.requests).toBe(1);
  });

  it('is looked for once the cooldown is over: the issuer may have a new key', async () => {
    const keys = await warm();
    issuer.answer = jwks(rs('k1'), jwkOf(otherRsa.publicKey, { kid: 'k2' }));
    expect(await found(keys, 'k2')).toBe('none');
    time += 30 * SECOND;
    expect(await found(keys, 'k2')).toBe('key');
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    expect(issuer.requests).toBe(2);
  });

  it('is gone when the issuer has removed it', async () => {
    const keys = await warm();
    issuer.answer = jwks(rs('k2'));
    time += 30 * SECOND;
    expect(await found(keys, 'k2')).toBe('key');
    expect(foundAtOnce(keys, 'k1')).toBe('none');
  });

  it('costs one fetch per cooldown, however many are made up', async () => {
    const keys = await warm();
    for (let round = 2; round <= 4; round++) {
      time += 30 * SECOND;
      const flood = Array.from({ length: 1000 }, () => found(keys, randomBytes(8).toString('hex')));
      expect(new Set(await Promise.all(flood))).toEqual(new Set(['none']));
      for (let i = 0; i < 100; i++) expect(foundAtOnce(keys, `late-${i}`)).toBe('none');
      expect(issuer.requests).toBe(round);
    }
  });

  it('counts the cooldown from when the fetch began', async () => {
    const keys = await warm();
    time += 30 * SECOND;
    const release = issuer.hold();
    const slow = found(keys, 'made-up');
    await eventually(() => expect(issuer.requests).toBe(2));
    time += 29 * SECOND;
    release();
    await slow;
    expect(foundAtOnce(keys, 'made-up')).toBe('none');
    time += SECOND;
    expect(await found(keys, 'made-up')).toBe('none');
    expect(issuer.requests).toBe(3);
  });

  it('waits for a fetch that is under way, and leaves known keys alone', async () => {
    const keys = await warm({ maxAge: '30s' });
    time += 15 * SECOND;
    issuer.answer = jwks(rs('k1'), rs('k2'));
    const release = issuer.hold();
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    const waiting = found(keys, 'k2');
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    await eventually(() => expect(issuer.requests).toBe(2));
    release();
    expect(await waiting).toBe('key');
    expect(issuer.requests).toBe(2);
  });
});

describe('while the issuer is out of reach', () => {
  it('nobody can say at first use, and it is over as soon as it is back', async () => {
    await issuer.close();
    const keys = remote();
    expect(await found(keys, 'k1')).toBe('unavailable');
    await issuer.open();
    time += SECOND;
    expect(await found(keys, 'k1')).toBe('key');
  });

  it('it answers 503, with the reason for the log', async () => {
    await issuer.close();
    const error = await Promise.resolve(remote().find({ alg: 'RS256', kid: 'k1' })).catch((e) => e);
    expect(error).toMatchObject({ code: 'KEYS_UNAVAILABLE', status: 503, retryAfter: 1 });
    expect((error as Error).cause).toMatchObject({ cause: { code: 'ECONNREFUSED' } });
  });

  it('known keys work for as long as the set may be used, and no longer', async () => {
    const keys = await warm({ maxAge: '2m' });
    await issuer.close();
    time += MINUTE;
    for (let second = 0; second < 59; second += 1, time += SECOND) {
      expect(foundAtOnce(keys, 'k1')).toBe('key');
      await eventually(() => expect(log.text).toContain('cannot be read'));
    }
    time += SECOND;
    expect(await found(keys, 'k1')).toBe('unavailable');
    await issuer.open();
    time += SECOND;
    expect(await found(keys, 'k1')).toBe('key');
  });

  it('nobody can say whether an unknown kid exists, known ones do', async () => {
    const keys = await warm();
    issuer.answer = status(500);
    time += 30 * SECOND;
    expect(await found(keys, 'k2')).toBe('unavailable');
    // Without another fetch: this one has only just failed.
    expect(await found(keys, 'k3')).toBe('unavailable');
    expect(issuer.requests).toBe(2);
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    issuer.answer = jwks(rs('k1'), rs('k2'));
    time += SECOND;
    expect(await found(keys, 'k2')).toBe('key');
    expect(await found(keys, 'k3')).toBe('none');
    expect(issuer.requests).toBe(3);
  });

  it('a set that is new says nothing about unknown kids once a later fetch has failed', async () => {
    const keys = await warm({ maxAge: '40s' });
    issuer.answer = status(500);
    time += 20 * SECOND;
    expect(foundAtOnce(keys, 'k2')).toBe('none');
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    await eventually(() => expect(log.text).toContain('cannot be read'));
    expect(await found(keys, 'k2')).toBe('unavailable');
  });

  it('it is asked once a second at most', async () => {
    issuer.answer = status(503);
    const keys = remote();
    for (let second = 1; second <= 5; second++, time += SECOND) {
      const flood = Array.from({ length: 200 }, (_, i) => found(keys, `k${i}`));
      expect(new Set(await Promise.all(flood))).toEqual(new Set(['unavailable']));
      time += 999;
      expect(await found(keys, 'k1')).toBe('unavailable');
      time -= 999;
      expect(issuer.requests).toBe(second);
    }
  });

  it('it is asked once a second at most behind known keys, too', async () => {
    const keys = await warm({ maxAge: '2m' });
    issuer.answer = status(503);
    time += MINUTE;
    foundAtOnce(keys, 'k1');
    await eventually(() => expect(log.text).toContain('status 503'));
    for (let i = 0; i < 100; i++) expect(foundAtOnce(keys, 'k1')).toBe('key');
    // Time for a request that should not have been sent to arrive.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await found(keys, 'k2')).toBe('unavailable');
    expect(issuer.requests).toBe(2);
    time += SECOND;
    expect(foundAtOnce(keys, 'k1')).toBe('key');
    await eventually(() => expect(issuer.requests).toBe(3));
  });

  it('a cooldown shorter than that is the pause', async () => {
    issuer.answer = status(503);
    const keys = remote({ cooldown: '100ms' });
    expect(await found(keys, 'k1')).toBe('unavailable');
    time += 100;
    expect(await found(keys, 'k1')).toBe('unavailable');
    expect(issuer.requests).toBe(2);
  });

  it('the log says so once, and once that it is back', async () => {
    issuer.answer = status(500);
    const keys = remote();
    for (let i = 0; i < 3; i++, time += SECOND) await found(keys, 'k1');
    expect(log.lines).toEqual([
      expect.stringMatching(/^WARN .*127\.0\.0\.1:\d+\/jwks\.json cannot be read: .*status 500/),
    ]);
    issuer.answer = jwks(rs('k1'));
    await found(keys, 'k1');
    time += MINUTE;
    await found(keys, 'k2');
    expect(log.lines).toEqual([expect.anything(), expect.stringMatching(/^LOG .* again\. /)]);
    expect(log.text).not.toContain('query-secret');
  });
});

describe('a fetch has failed when the issuer', () => {
  const endless = (response: ServerResponse) => {
    const chunk = Buffer.alloc(64 * 1024, ' ');
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', more);
    more();
  };
  const huge = { keys: [rs('k1')], padding: 'x'.repeat(1_000_000) };

  it.each<[string, RequestListener]>([
    ['answers 500', status(500)],
    ['answers 404 with a set', status(404)],
    ['answers 206 with a set', status(206)],
    ['answers HTML', (_, response) => void response.end('<html>query-secret</html>')],
    ['answers nothing', (_, response) => void response.end()],
    ['answers null', json(null)],
    ['answers a list', json([rs('k1')])],
    ['answers without keys', json({})],
    ['answers with keys that are no list', json({ keys: { k1: rs('k1') } })],
    ['answers more than 1 MB', json(huge)],
    ['never stops', (_, response) => endless(response)],
    ['hangs up', (request) => void request.socket.destroy()],
    [
      'hangs up half-way',
      (request, response) => {
        response.writeHead(200, { 'content-length': '1000' }).write('{"keys":', () => {
          request.socket.destroy();
        });
      },
    ],
    ['does not answer', hang],
    ['does not finish', (_, response) => void response.writeHead(200).write('{"keys":')],
  ])('%s', async (_, answer) => {
    const keys = await warm({ timeout: '300ms' });
    issuer.answer = answer;
    time += 10 * MINUTE;
    const began = performance.now();
    expect(await found(keys, 'k1')).toBe('unavailable');
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(issuer.requests).toBe(2);
    expect(log.text).not.toContain('query-secret');
    issuer.answer = jwks(rs('k1'));
    time += SECOND;
    expect(await found(keys, 'k1')).toBe('key');
  });

  it.each([301, 302, 303, 307, 308])('redirects (%p), which is not followed', async (code) => {
    issuer.answer = (request, response) => {
      const moved = request.url?.startsWith('/jwks') && status(code, { location: '/moved' });
      (moved || jwks(rs('k1')))(request, response);
    };
    expect(await found(remote(), 'k1')).toBe('unavailable');
    expect(issuer.paths).toEqual(['/jwks.json?key=query-secret']);
  });
});

describe('a key of the set is used only if it fits', () => {
  const algorithms = ['RS256', 'RS512', 'PS256', 'ES256', 'ES384'] as const;

  /** The algorithms for which the set has a key of this name. */
  async function uses(...entries: unknown[]): Promise<string[]> {
    issuer.answer = jwks(...entries, rs('sound'));
    issuer.requests = 0;
    const keys = remote({ algorithms });
    expect(await found(keys, 'sound')).toBe('key');
    const answers = algorithms.filter((alg) => foundAtOnce(keys, 'k1', alg) === 'key');
    expect(issuer.requests).toBe(1);
    return answers;
  }
  const ec = (members: JWK = {}) => jwkOf(p256.publicKey, { kid: 'k1', ...members });

  it.each<[string, unknown, string[]]>([
    ['RSA without alg, for every RSA algorithm', rs('k1'), ['RS256', 'RS512', 'PS256']],
    ['RSA with alg, for that one', rs('k1', { alg: 'PS256' }), ['PS256']],
    ['P-256', ec(), ['ES256']],
    ['P-384', jwkOf(p384.publicKey, { kid: 'k1' }), ['ES384']],
    ['with use and key_ops', ec({ use: 'sig', key_ops: ['verify'] }), ['ES256']],
    ['with an alg that does not belong to it', rs('k1', { alg: 'ES256' }), []],
    ['with an alg that is not accepted', rs('k1', { alg: 'RS384' }), []],
    ['with an alg for encryption', rs('k1', { alg: 'RSA-OAEP' }), []],
    ['for encryption', rs('k1', { use: 'enc' }), []],
    ['with key_ops for something else', rs('k1', { key_ops: ['encrypt', 'wrapKey'] }), []],
    ['with key_ops that are no list', { ...rs('k1'), key_ops: 'verify' }, []],
    ['too short', jwkOf(shortRsa.publicKey, { kid: 'k1' }), []],
    ['of another kind', jwkOf(ed25519.publicKey, { kid: 'k1' }), []],
    ['a secret', { kty: 'oct', kid: 'k1', k: randomBytes(64).toString('base64url') }, []],
    ['published with its private half, RSA', jwkOf(rsa.privateKey, { kid: 'k1' }), []],
    ['published with its private half, EC', jwkOf(p256.privateKey, { kid: 'k1' }), []],
    ...['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].map((name): [string, unknown, string[]] => [
      `published with ${name} alone of its private half`,
      rs('k1', { [name]: jwkOf(rsa.privateKey)[name as 'p'] ?? 'AQ' }),
      [],
    ]),
    [
      'published with its private half but for d',
      { ...jwkOf(rsa.privateKey, { kid: 'k1' }), d: undefined },
      [],
    ],
    ['without a kid', jwkOf(rsa.publicKey), []],
    ['with a kid that is a number', { ...rs('k1'), kid: 1 }, []],
    ['with half of its members', { ...rs('k1'), n: undefined }, []],
    ['with members of another type', { ...rs('k1'), e: 65537 }, []],
    ['off its curve', ec({ y: jwkOf(p256.publicKey).x }), []],
    ['null', null, []],
    ['text', 'k1', []],
    ['a list', [rs('k1')], []],
  ])('%s', async (_, entry, expected) => {
    expect(await uses(entry)).toEqual(expected);
  });

  it('two of one name: neither, for the algorithms that both fit', async () => {
    const other = jwkOf(otherRsa.publicKey, { kid: 'k1' });
    expect(await uses(rs('k1'), other)).toEqual([]);
    expect(await uses(rs('k1'), other, rs('k1'))).toEqual([]);
  });

  it('two of one name: both, for algorithms of their own', async () => {
    expect(await uses(rs('k1', { alg: 'RS256' }), ec())).toEqual(['RS256', 'ES256']);
  });

  it('two of one name: the one that fits', async () => {
    expect(await uses(rs('k1', { use: 'enc' }), rs('k1', { alg: 'RS256' }))).toEqual(['RS256']);
  });
});

describe('the boot stops', () => {
  const boot = (options: object) => {
    try {
      createRemoteKeys(options as RemoteKeyOptions, { now: () => time });
      return 'accepted';
    } catch (error) {
      expect(error).toBeInstanceOf(JwtStateConfigError);
      return (error as Error).message;
    }
  };
  const jwksUri = 'https://issuer.example/jwks';
  const algorithms = ['RS256'];

  it.each([
    [jwksUri],
    [new URL(jwksUri)],
    ['http://localhost:3000/jwks'],
    ['http://127.0.0.1/jwks'],
    ['http://[::1]:3000/jwks'],
  ])('not for %s', (uri) => {
    expect(boot({ jwksUri: uri, algorithms })).toBe('accepted');
    expect(boot({ jwksUri: uri, algorithms, cooldown: 1, maxAge: '1h', timeout: '2s' })).toBe(
      'accepted',
    );
  });

  it.each<[string, object, RegExp]>([
    [
      'an unknown option',
      { jwksUri, algorithms, secret: 'x' },
      /no option "secret".*knows: jwksUri/,
    ],
    ['no jwksUri', { algorithms }, /jwksUri is missing. Set it/],
    ['an empty jwksUri', { jwksUri: '', algorithms }, /jwksUri is missing/],
    ['no URL', { jwksUri: '/jwks', algorithms }, /not a URL/],
    ['http', { jwksUri: 'http://issuer.example/jwks', algorithms }, /must be https/],
    [
      'a name like localhost',
      { jwksUri: 'http://localhost.example/', algorithms },
      /must be https/,
    ],
    ['a file', { jwksUri: 'file:///etc/jwks.json', algorithms }, /must be https/],
    ['a password', { jwksUri: 'https://me:hush@issuer.example/', algorithms }, /leave them out/],
    ['no algorithms', { jwksUri }, /algorithms is missing/],
    ['an empty list', { jwksUri, algorithms: [] }, /algorithms is missing/],
    ['text for a list', { jwksUri, algorithms: 'RS256' }, /algorithms is missing/],
    ['a secret algorithm', { jwksUri, algorithms: ['RS256', 'HS256'] }, /"HS256" cannot be used/],
    ['none', { jwksUri, algorithms: ['none'] }, /"none" cannot be used/],
    ['a gap in the list', { jwksUri, algorithms: ['RS256', undefined] }, /cannot be used/],
    ['cooldown', { jwksUri, algorithms, cooldown: 0 }, /keys\.cooldown: 0 is not a duration/],
    ['maxAge', { jwksUri, algorithms, maxAge: '900' }, /keys\.maxAge: "900" is not a duration/],
    ['timeout', { jwksUri, algorithms, timeout: '30d' }, /keys\.timeout.*longer than a timer/],
  ])('for %s', (_, options, message) => {
    expect(boot(options)).toMatch(message);
    expect(boot(options)).not.toContain('hush');
  });
});
