import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { JwtStateConfigError } from '../../lib/jwt-state.errors.js';
import { createKeys } from '../../lib/keys/create-keys.js';
import type { KeyOptions, KeysOption } from '../../lib/keys/key-options.js';
import { createKeyRing } from '../../lib/keys/key-ring.js';
import { LegacyKeys } from '../../lib/keys/legacy-keys.js';
import { FakeClock } from '../support/fake-clock.js';

const [one, two] = [0, 1].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' })) as [
  { privateKey: KeyObject; publicKey: KeyObject },
  { privateKey: KeyObject; publicKey: KeyObject },
];
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });

const ES: KeyOptions = { algorithm: 'ES256', privateKey: one.privateKey };
const ES_PUBLIC: KeyOptions = { algorithm: 'ES256', publicKey: one.publicKey };
const OTHER_ES: KeyOptions = { algorithm: 'ES256', privateKey: two.privateKey };
const RS: KeyOptions = { algorithm: 'RS256', privateKey: rsa.privateKey, kid: 'rs' };
const HS: KeyOptions = { algorithm: 'HS256', secret: 'x'.repeat(32) };
const NAMED_HS: KeyOptions = { algorithm: 'HS256', secret: 'y'.repeat(32), kid: 'hs' };

async function bootError(keys: unknown): Promise<string> {
  const error = await createKeyRing(keys as KeyOptions[]).then(
    () => new Error('it was accepted'),
    (reason: Error) => reason,
  );
  expect(error).toBeInstanceOf(JwtStateConfigError);
  return error.message;
}

describe('a ring of keys', () => {
  it('signs with the first', async () => {
    expect((await createKeyRing([ES, HS])).signing?.algorithm).toBe('ES256');
    expect((await createKeyRing([HS, ES])).signing?.algorithm).toBe('HS256');
    expect((await createKeyRing(RS)).signing?.kid).toBe('rs');
  });

  it('signs with none where the first has no private half, whatever comes after it', async () => {
    expect((await createKeyRing([ES_PUBLIC, HS])).signing).toBeUndefined();
    expect((await createKeyRing([])).signing).toBeUndefined();
  });

  it('verifies with all, each by its name', async () => {
    const ring = await createKeyRing([ES, RS, HS, NAMED_HS]);
    const [es] = ring.keys;
    expect(ring.algorithms).toEqual(['ES256', 'RS256', 'HS256']);
    expect(ring.find({ alg: 'ES256', kid: es?.kid })).toBe(es?.verificationKey);
    for (const [alg, kid, index] of [
      ['RS256', 'rs', 1],
      ['HS256', undefined, 2],
      ['HS256', 'hs', 3],
    ] as const) {
      expect(ring.find({ alg, kid })).toBe(ring.keys[index]?.verificationKey);
    }
  });

  it('never gives a private key to verify with', async () => {
    const ring = await createKeyRing([ES, RS]);
    expect(ring.keys.map(({ verificationKey }) => verificationKey.type)).toEqual([
      'public',
      'public',
    ]);
  });

  it.each([
    ['RS256', undefined],
    ['ES256', undefined],
    ['HS256', 'rs'],
    ['RS256', 'hs'],
    ['ES256', 'rs'],
    ['RS512', 'rs'],
    ['PS256', 'rs'],
    ['none', 'rs'],
    ['RS256', '__proto__'],
    ['RS256', 'constructor'],
    ['RS256', 'RS'],
    ['RS256', ''],
    ['HS256', ''],
    ['HS256', 'undefined'],
  ])('has no key for %s under the kid %p', async (alg, kid) => {
    const ring = await createKeyRing([RS, ES, HS, NAMED_HS]);
    expect(ring.find({ alg: alg as never, kid })).toBeUndefined();
  });

  it('has no key for a token that names none, where every key has a name', async () => {
    const ring = await createKeyRing([ES, RS, NAMED_HS]);
    for (const alg of ring.algorithms) {
      expect(ring.find({ alg, kid: undefined })).toBeUndefined();
    }
  });

  it.each([['none'], ['HS512'], ['RS512'], [undefined], [null], [['ES256']], ['toString']])(
    'does not accept %j, which none of its keys is for',
    async (alg) => {
      const ring = await createKeyRing([ES, RS, HS]);
      expect(ring.accepts(alg)).toBe(false);
      for (const known of ['ES256', 'RS256', 'HS256']) expect(ring.accepts(known)).toBe(true);
    },
  );

  it.each<[string, KeyOptions[]]>([
    ['two keys of one name', [RS, { ...NAMED_HS, kid: 'rs' }]],
    ['two keys of one name and algorithm', [NAMED_HS, { ...HS, kid: 'hs' }]],
    ['one key twice', [ES, ES]],
    ['one key and its public half', [ES, ES_PUBLIC]],
    ['two secrets without a name', [HS, { algorithm: 'HS256', secret: 'z'.repeat(32) }]],
    [
      'two secrets without a name, for two algorithms',
      [HS, { algorithm: 'HS512', secret: 'z'.repeat(64) }],
    ],
  ])('refuses %s', async (_name, keys) => {
    expect(await bootError(keys)).toMatch(/same `kid`.*give each its own/);
  });

  it('takes one nameless secret beside keys that have names', async () => {
    expect((await createKeyRing([HS, NAMED_HS, ES, RS])).keys).toHaveLength(4);
  });

  it.each<[string, unknown[]]>([
    ['nothing', [ES, undefined]],
    ['a hole', [null, ES]],
    ['a list', [[ES]]],
    ['a key that does not fit', [ES, { algorithm: 'RS256', privateKey: one.privateKey }]],
    ['a short secret', [ES, { algorithm: 'HS256', secret: 'short' }]],
    ['the keys of another service', [ES, { jwksUri: 'https://a.example', algorithms: ['ES256'] }]],
  ])('refuses %s in it, wherever it stands', async (_name, keys) => {
    await bootError(keys);
  });
});

describe('keys of tokens from before', () => {
  const legacyKeys = async (...keys: KeyOptions[]) => new LegacyKeys(await createKeyRing(keys));

  it('are found without a name: the only one of the algorithm', async () => {
    const ring = await createKeyRing([ES, RS, NAMED_HS]);
    const keys = new LegacyKeys(ring);
    expect(keys.find({ alg: 'HS256', kid: undefined })).toBe(ring.keys[2]?.verificationKey);
    expect(keys.find({ alg: 'RS256', kid: undefined })).toBe(ring.keys[1]?.verificationKey);
    expect(keys.find({ alg: 'RS512' as never, kid: undefined })).toBeUndefined();
  });

  it('are found by their name, where the token gives one, and by no other', async () => {
    const ring = await createKeyRing([RS, NAMED_HS]);
    const keys = new LegacyKeys(ring);
    expect(keys.find({ alg: 'HS256', kid: 'hs' })).toBe(ring.keys[1]?.verificationKey);
    for (const kid of ['rs', 'other', '']) {
      expect(keys.find({ alg: 'HS256', kid })).toBeUndefined();
    }
  });

  it('never are the public half taken for a secret', async () => {
    const keys = await legacyKeys(RS, ES);
    expect(keys.accepts('HS256')).toBe(false);
    expect(keys.find({ alg: 'HS256', kid: undefined })).toBeUndefined();
  });

  it('cannot be told apart where two have one algorithm: the boot stops', async () => {
    const attempt = legacyKeys(ES, OTHER_ES);
    await expect(attempt).rejects.toThrow(JwtStateConfigError);
    await expect(attempt).rejects.toThrow(/several keys of one algorithm.*legacy\.keys/s);
  });
});

describe('the keys of a service', () => {
  const legacy = (keys?: KeyOptions) => ({ keys }) as never;
  const create = (keys: KeysOption | undefined, more: object = {}) =>
    createKeys({ keys, legacy: undefined, foreignIssuers: [], ...more }, new FakeClock());

  it('are those of its own tokens, and by default of those from before', async () => {
    const keys = await create([ES, HS], { legacy: legacy() });
    expect(keys.ring?.keys).toHaveLength(2);
    expect(keys.legacy?.algorithms).toEqual(['ES256', 'HS256']);
    expect((await create([ES, HS])).legacy).toBeUndefined();
  });

  it('never sign with a key of tokens from before, nor take one for tokens of today', async () => {
    const keys = await create(ES_PUBLIC, { legacy: legacy(HS) });
    expect(keys.signing).toBeUndefined();
    expect(keys.own.accepts('HS256')).toBe(false);
    expect(keys.legacy?.accepts('ES256')).toBe(false);
  });

  it('may be fetched: then there is nothing to sign with, and nothing to publish', async () => {
    const keys = await create({ jwksUri: 'https://a.example', algorithms: ['ES256'] });
    expect(keys).toMatchObject({ signing: undefined, ring: undefined });
    expect(keys.own.algorithms).toEqual(['ES256']);
  });

  it('may be other issuers’ only', async () => {
    const foreignIssuers = [
      { issuer: 'https://a.example', keys: ES_PUBLIC },
      { issuer: 'https://b.example', keys: RS },
    ];
    const keys = await create(undefined, { foreignIssuers });
    expect(keys.signing).toBeUndefined();
    expect(keys.own.algorithms).toEqual([]);
    expect(keys.foreign.get('https://a.example')?.algorithms).toEqual(['ES256']);
    expect(keys.foreign.get('https://b.example')?.algorithms).toEqual(['RS256']);
  });
});
