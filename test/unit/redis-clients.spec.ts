import { describe, expect, it } from '@jest/globals';
import KeyvRedis, * as keyvRedis from '@keyv/redis';
import * as redis from '@redis/client';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { createStore } from '../../lib/deny-list/create-store.js';
import { JwtStateConfigError } from '../../lib/jwt-state.errors.js';
import { GivenClientLink } from '../../lib/redis/given-client.link.js';

/*
 * A client that the application has made may be of any kind, and of the version that it or that
 * @keyv/redis brings. None of them is connected here.
 */

const NODE = { host: '127.0.0.1', port: 1 };
const SENTINEL = { name: 'tokens', sentinelRootNodes: [NODE] };
const CLUSTER = { rootNodes: [{ url: 'redis://127.0.0.1:1' }] };

const KINDS: [kind: string, client: object, isOrdered: boolean, isCluster: boolean][] = [
  ['one connection', redis.createClient(), true, false],
  ['one connection of 5.12', keyvRedis.createClient(), true, false],
  ['a pool', redis.createClientPool(), false, false],
  ['Sentinel', redis.createSentinel(SENTINEL), false, false],
  ['Sentinel of 5.12', keyvRedis.createSentinel(SENTINEL), false, false],
  ['a cluster', redis.createCluster(CLUSTER), false, true],
  ['a cluster of 5.12', keyvRedis.createCluster(CLUSTER), false, true],
];
const silent = { up: () => {}, down: () => {}, outdated: () => {} };

describe.each(KINDS)('a client that was given: %s', (_, client, isOrdered, isCluster) => {
  it(`keeps the order: ${isOrdered}`, () => {
    expect(new GivenClientLink(client, silent)).toMatchObject({ isOrdered, isCluster });
  });
});

describe.each(KINDS.filter(([kind]) => kind !== 'a pool'))(
  'under @keyv/redis: %s',
  (_, client, isOrdered) => {
    it(`keeps the order: ${isOrdered}; both records of a succession are one step only then`, () => {
      const cache = createCache({ stores: [new Keyv(new KeyvRedis(client as never))] });
      const store = createStore({ cache, prefix: 'jst:', lookupTimeout: 150 });
      expect(store.isOrdered).toBe(isOrdered);
      expect(store.writeBothIfAbsent !== undefined).toBe(isOrdered);
      expect(store.removeIfUnchanged !== undefined).toBe(isOrdered);
      expect(store.conclude !== undefined).toBe(isOrdered);
    });
  },
);

it.each([
  ['', redis.createCluster({ ...CLUSTER, useReplicas: true })],
  [' of 5.12', keyvRedis.createCluster({ ...CLUSTER, useReplicas: true })],
])('a cluster%s that reads from replicas is refused', (_, client) => {
  expect(() => new GivenClientLink(client, silent)).toThrow(JwtStateConfigError);
});
