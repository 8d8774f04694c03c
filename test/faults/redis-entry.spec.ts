import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { createClient } from '@redis/client';
import { DenyListKeys } from '../../lib/deny-list/deny-list.keys.js';
import { StoreAnswerError } from '../../lib/deny-list/deny-list.store.js';
import { type NativeStore, nativeStoreOf } from '../../lib/deny-list/native-store.js';
import { JwtStateConfigError, JwtStateModule, TokenService } from '../../lib/index.js';
import { type RedisDenyListOptions, redisDenyList } from '../../lib/redis/index.js';
import { CapturedLog } from '../support/captured-log.js';
import { selfSignedCertificate } from '../support/certificate.js';
import { Network } from '../support/network.js';
import { RedisServer } from '../support/redis-server.js';
import { KEYS } from '../support/setup.js';
import { until } from '../support/until.js';

const log = new CapturedLog();
Logger.overrideLogger(log);

/** What a test leaves to be undone, the latest first. */
let endings: (() => unknown)[] = [];
beforeEach(() => log.clear());
afterEach(async () => {
  for (const end of endings.reverse()) await end();
  endings = [];
});

async function server(...args: string[]): Promise<RedisServer> {
  const redis = await RedisServer.start({ args });
  endings.push(() => redis.stop());
  return redis;
}

async function admin({ url }: RedisServer) {
  const client = createClient({ url });
  client.on('error', () => {});
  await client.connect();
  endings.push(() => client.destroy());
  return client;
}

function storeOf(options: RedisDenyListOptions): NativeStore {
  const store = nativeStoreOf(redisDenyList(options).stores[0]?.store as object) as NativeStore;
  endings.push(() => store.close());
  return store;
}

async function open(options: RedisDenyListOptions): Promise<NativeStore> {
  const store = storeOf(options);
  await store.open({ names: new DenyListKeys('jst:') });
  return store;
}

const works = async (store: NativeStore) => {
  await store.write('jst:jti:a', 'x', 60_000);
  expect(await store.read(['jst:jti:a', 'jst:jti:b'])).toEqual(['x', undefined]);
  expect(await store.writeIfAbsent('jst:jti:a', 'y', 60_000)).toBe('x');
  expect(await store.writeIfUnchanged('jst:jti:a', 'x', 'y', 60_000)).toEqual({ written: true });
  expect(await store.read(['jst:jti:a'])).toEqual(['y']);
};

describe('at boot', () => {
  it.each(['allkeys-lru', 'volatile-ttl'])('%s is an error', async (policy) => {
    const { url } = await server('--maxmemory-policy', policy);
    await expect(open({ url })).rejects.toBeInstanceOf(JwtStateConfigError);
  });

  it('a server that keeps nothing is a warning, once', async () => {
    const redis = await server();
    await works(await open({ url: redis.url }));
    expect(log.lines).toHaveLength(1);
    expect(log.text).toContain('persistence is off');
    const client = await admin(redis);
    await client.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']);
    await until(() => log.text.includes('Connected to Redis.'), 3_000);
    await sleep(100);
    expect(log.text.split('persistence is off')).toHaveLength(2);
  });

  it.each([[['--appendonly', 'yes']], [['--save', '60 1']]])(
    'with %j all is well',
    async (args) => {
      const { url } = await server(...args);
      await works(await open({ url }));
      expect(log.lines).toEqual([]);
    },
  );

  const ACL = '~jst:* +get +mget +set +del +pttl +eval';
  const account = async (rights: string, ...args: string[]) => {
    const redis = await server(...args);
    const client = await admin(redis);
    const words = `ACL SETUSER alice on >pa:ss/word ${rights}`.split(' ');
    await client.sendCommand(words);
    return { username: 'alice', password: 'pa:ss/word', url: redis.url };
  };

  it('an account without CONFIG is answered by INFO', async () => {
    const evicts = await account(`${ACL} +info`, '--maxmemory-policy', 'allkeys-lfu');
    await expect(open(evicts)).rejects.toBeInstanceOf(JwtStateConfigError);
    const keeps = await account(`${ACL} +info +client|tracking`, '--appendonly', 'yes');
    log.clear();
    await works(await open(keeps));
    expect(log.lines).toEqual([]);
  });

  it.each(['+pttl', '+del'])(
    'one without %s is refused what it lacks, which is no outage',
    async (right) => {
      const store = await open(await account(`${ACL.replace(` ${right}`, '')} +client|tracking`));
      const ask =
        right === '+pttl'
          ? () => store.write('jst:jti:a', 'x', 1_000)
          : async () => {
              await store.write('jst:jti:a', 'x', 1_000);
              await store.removeIfUnchanged?.('jst:jti:a', 'x');
            };
      await expect(ask()).rejects.toThrow(/what the scripts call/);
      await expect(ask()).rejects.toBeInstanceOf(StoreAnswerError);
    },
  );

  it('an account without both is told that nothing is verified', async () => {
    await works(await open(await account(`${ACL} +client|tracking`)));
    expect(log.text.match(/Unverified/g)).toHaveLength(2);
  });

  it('an account without CLIENT TRACKING works without a near copy', async () => {
    const store = await open(await account(ACL));
    await until(async () =>
      store.write('jst:jti:a', 'x', 1_000).then(
        () => true,
        () => false,
      ),
    );
    await works(store);
    expect(store.near?.recall(['jst:jti:a'])).toBeUndefined();
    expect(await store.near?.complete(['jst:jti:a'])).toEqual(['y']);
    expect(store.near?.recall(['jst:jti:a'])).toBeUndefined();
    expect(log.text).toContain('No near copy');
  });

  it('a wrong password is a warning that does not tell it', async () => {
    const redis = await server('--requirepass', 'right');
    const url = redis.url.replace('//', '//:secret-but-wrong@');
    const store = await open({ url });
    await expect(store.read(['jst:jti:a'])).rejects.toBeDefined();
    expect(log.text).toContain('WRONGPASS');
    expect(log.text).not.toContain('secret');
  });
});

describe('a server that is away', () => {
  it('at boot is a warning; when it comes it is used, and checked', async () => {
    const redis = await server('--maxmemory-policy', 'allkeys-lru');
    await redis.stop();
    const store = await open({ url: redis.url });
    expect(log.text).toMatch(/WARN No connection to Redis: ECONNREFUSED.*starts without/);
    const began = performance.now();
    await expect(store.read(['jst:jti:a'])).rejects.toBeDefined();
    await expect(store.write('jst:jti:a', 'x', 1_000)).rejects.toBeDefined();
    expect(performance.now() - began).toBeLessThan(100);
    await redis.restart();
    await until(() => log.text.includes('ERROR'), 5_000);
    expect(log.text).toMatch(/LOG Connected to Redis\./);
    expect(log.text).toMatch(/ERROR Redis drops entries/);
    await works(store);
  });

  it('that hangs at boot delays it by seconds at most', async () => {
    const redis = await server();
    redis.suspend();
    const began = performance.now();
    const store = await open({ url: redis.url });
    expect(performance.now() - began).toBeLessThan(4_000);
    expect(log.text).toContain('starts without');
    redis.resume();
    await until(() => log.text.includes('Connected to Redis.'), 5_000);
    await works(store);
  });

  it('is come back to, however often it goes', async () => {
    const redis = await server();
    const store = await open({ url: redis.url });
    for (let n = 0; n < 3; n++) {
      await redis.restart();
      await until(
        async () =>
          store.write('jst:jti:a', 'x', 1_000).then(
            () => true,
            () => false,
          ),
        5_000,
      );
      await works(store);
    }
  });

  it('behind a network that swallows everything is connected to anew', async () => {
    const redis = await server();
    const network = await Network.to(redis.port);
    endings.push(() => network.close());
    const store = await open({ url: network.url });
    await works(store);
    await store.near?.complete(['jst:jti:b']);
    network.swallow();
    const lost = store.read(['jst:jti:b']) as Promise<unknown>;
    await sleep(1_100);
    expect(store.near?.recall(['jst:jti:b'])).toBeUndefined();
    await expect(lost).rejects.toBeDefined();
    await until(
      async () =>
        store.write('jst:jti:a', 'x', 1_000).then(
          () => true,
          () => false,
        ),
      5_000,
    );
    expect(log.text).toContain('No response from Redis for 5 s; reconnecting.');
    await works(store);
    await store.near?.complete(['jst:jti:b']);
    expect(store.near?.recall(['jst:jti:b'])).toEqual([undefined]);
    const client = await admin(redis);
    await client.set('jst:jti:b', 'x');
    await until(() => store.near?.recall(['jst:jti:b']) === undefined, 500);
    await sleep(1_500);
    // The one that was given up is closed.
    expect(network.open).toBe(1);
  });

  it('and hangs while many ask: what does not fit the queue fails at once', async () => {
    const redis = await server();
    const store = await open({ url: redis.url, commandsQueueMaxLength: 50 });
    redis.suspend();
    const asked = Array.from({ length: 200 }, () => store.read(['jst:jti:a']));
    const failed = await Promise.allSettled(asked.slice(60));
    expect(failed.every(({ status }) => status === 'rejected')).toBe(true);
    redis.resume();
    await Promise.allSettled(asked);
    await works(store);
  });
});

describe('closing', () => {
  it('ends the connection, also of a server that hangs, and may be done twice', async () => {
    const redis = await server();
    const client = await admin(redis);
    const connections = async () =>
      String(await client.sendCommand(['CLIENT', 'LIST']))
        .trim()
        .split('\n').length;
    const store = await open({ url: redis.url });
    expect(await connections()).toBe(2);
    await store.close();
    await store.close();
    // The server hears of it a moment later.
    await until(async () => (await connections()) === 1);
    expect(store.near?.recall([])).toBeUndefined();
    await expect(Promise.resolve().then(() => store.read(['jst:jti:a']))).rejects.toThrow(
      'not open',
    );

    await store.open({ names: new DenyListKeys('jst:') });
    await works(store);
    redis.suspend();
    const asked = Promise.resolve(store.read(['jst:jti:a'])).catch(() => 'lost');
    const began = performance.now();
    await store.close();
    expect(performance.now() - began).toBeLessThan(2_000);
    redis.resume();
    expect(await asked).toBe('lost');
  });

  it('while there never was a connection', async () => {
    const redis = await server();
    await redis.stop();
    const store = await open({ url: redis.url });
    await store.close();
    log.clear();
    await sleep(1_200);
    expect(log.lines).toEqual([]);
  });

  it('comes with the end of the application', async () => {
    const redis = await server();
    const client = await admin(redis);
    const cache = redisDenyList({ url: redis.url });
    @Module({ imports: [JwtStateModule.forRoot({ keys: KEYS, denyList: { cache } })] })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { abortOnError: false });
    Logger.overrideLogger(log);
    const tokens = app.get(TokenService);
    const issued = await tokens.issue('alice');
    for (let n = 0; n < 3; n++) {
      expect((await tokens.verify(issued.accessToken)).sub).toBe('alice');
    }
    const names = await client.keys('*');
    expect(names).toEqual(['jst:witness']);
    await tokens.revoke({ sub: 'alice' });
    await expect(tokens.verify(issued.accessToken)).rejects.toMatchObject({
      code: 'TOKEN_REVOKED',
    });
    await app.close();
    const list = String(await client.sendCommand(['CLIENT', 'LIST']));
    expect(list.trim().split('\n')).toHaveLength(1);
  });

  it('comes with a boot that fails over its keys', async () => {
    const redis = await server();
    const client = await admin(redis);
    const cache = redisDenyList({ url: redis.url });
    const keys = { algorithm: 'RS256', publicKey: 'none' } as const;
    @Module({ imports: [JwtStateModule.forRoot({ keys, denyList: { cache } })] })
    class AppModule {}
    const boot = NestFactory.createApplicationContext(AppModule, { abortOnError: false });
    await expect(boot).rejects.toBeInstanceOf(JwtStateConfigError);
    Logger.overrideLogger(log);
    await until(async () => {
      const list = String(await client.sendCommand(['CLIENT', 'LIST']));
      return list.trim().split('\n').length === 1;
    });
  });

  it('of one of two processes leaves the other; both hear of a revocation', async () => {
    const redis = await server();
    const client = await admin(redis);
    const application = async () => {
      const cache = redisDenyList({ url: redis.url });
      @Module({ imports: [JwtStateModule.forRoot({ keys: KEYS, denyList: { cache } })] })
      class AppModule {}
      const app = await NestFactory.createApplicationContext(AppModule, { abortOnError: false });
      Logger.overrideLogger(log);
      endings.push(() => app.close());
      return { app, tokens: app.get(TokenService) };
    };
    const [one, two] = [await application(), await application()];
    const look = ({ tokens }: typeof one, token: string) =>
      tokens.verify(token).then(
        () => 'ok',
        ({ code }) => code,
      );
    const [alice, bob] = [await one.tokens.issue('alice'), await two.tokens.issue('bob')];
    for (const token of [alice.accessToken, bob.accessToken]) {
      expect(await look(one, token)).toBe('ok');
      expect(await look(two, token)).toBe('ok');
    }
    const reads = async () =>
      Number(/cmdstat_mget:calls=(\d+)/.exec(await client.info('commandstats'))?.[1]);
    const before = await reads();
    for (let n = 0; n < 200; n++) {
      expect(await look(two, alice.accessToken)).toBe('ok');
      expect(await look(one, bob.accessToken)).toBe('ok');
    }
    expect(await reads()).toBe(before);

    await one.tokens.revoke({ sub: 'alice' });
    expect(await look(one, alice.accessToken)).toBe('TOKEN_REVOKED');
    await until(async () => (await look(two, alice.accessToken)) === 'TOKEN_REVOKED', 500);
    expect(await look(two, bob.accessToken)).toBe('ok');
    await one.app.close();
    expect(await look(two, bob.accessToken)).toBe('ok');
    await two.tokens.revoke({ sub: 'bob' });
    expect(await look(two, bob.accessToken)).toBe('TOKEN_REVOKED');

    const carol = await two.tokens.issue('carol');
    expect(await look(two, carol.accessToken)).toBe('ok');
    await redis.restart();
    await until(async () => (await look(two, carol.accessToken)) === 'DENY_LIST_LOST', 5_000);
  });

  it('an evicting server stops the boot of the application', async () => {
    const { url } = await server('--maxmemory-policy', 'allkeys-random');
    const cache = redisDenyList({ url });
    @Module({ imports: [JwtStateModule.forRoot({ keys: KEYS, denyList: { cache } })] })
    class AppModule {}
    const boot = NestFactory.createApplicationContext(AppModule, { abortOnError: false });
    await expect(boot).rejects.toBeInstanceOf(JwtStateConfigError);
  });
});

describe('options', () => {
  it('of TLS are passed on', async () => {
    const certificate = selfSignedCertificate();
    endings.push(certificate.remove);
    const { cert, key, pem } = certificate;
    // RedisServer itself asks without TLS whether it is up.
    const plain = await server();
    const client = await admin(plain);
    const port = plain.port + 1;
    for (const [name, value] of [
      ['tls-cert-file', cert],
      ['tls-key-file', key],
      ['tls-ca-cert-file', cert],
      ['tls-auth-clients', 'no'],
      ['tls-port', String(port)],
    ] as const) {
      await client.configSet(name, value);
    }
    const url = `rediss://localhost:${port}`;
    await works(await open({ url, socket: { tls: true, ca: pem, family: 4 } as never }));
    log.clear();
    const untrusting = await open({ url });
    await expect(untrusting.read(['jst:jti:a'])).rejects.toBeDefined();
    expect(log.text).toMatch(/SELF_SIGNED/);
  });

  it('of accounts, databases and the prefix are passed on', async () => {
    const redis = await server('--requirepass', 'secret');
    const store = storeOf({ url: redis.url, password: 'secret', database: 3 });
    await store.open({ names: new DenyListKeys('other:') });
    await store.near?.complete(['other:jti:a']);
    expect(store.near?.recall(['other:jti:a'])).toEqual([undefined]);
    const client = createClient({ url: redis.url, password: 'secret', database: 3 });
    await client.connect();
    endings.push(() => client.destroy());
    await client.set('other:jti:a', 'x');
    await until(() => store.near?.recall(['other:jti:a']) === undefined);
    expect(await store.read(['other:jti:a'])).toEqual(['x']);
  });

  it('a client of the application is used, and left to it', async () => {
    const redis = await server('--appendonly', 'yes');
    const client = createClient({ url: redis.url, disableOfflineQueue: true });
    client.on('error', () => {});
    const store = await open({ client });
    expect(log.text).toContain('No connection to Redis');
    expect(store.near).toBeUndefined();
    await client.connect();
    await works(store);
    await until(() => log.text.includes('LOG Connected to Redis.'), 3_000);
    await store.close();
    expect(client.isReady).toBe(true);
    client.destroy();
  });

  it('a client that is just being connected is waited for, and its server is checked', async () => {
    const redis = await server();
    const client = createClient({ url: redis.url, disableOfflineQueue: true });
    client.on('error', () => {});
    endings.push(() => client.destroy());
    const connecting = client.connect();
    const store = await open({ client });
    expect(client.isReady).toBe(true);
    await connecting;
    await works(store);
    expect(log.lines).toHaveLength(1);
    expect(log.text).toContain('persistence is off');
  });

  it.each<[unknown, RegExp]>([
    [{ url: 'redis://x', keyPrefix: 'a:' }, /keyPrefix.*denyList.prefix/],
    [{ url: 'redis://x', RESP: 2 }, /RESP/],
    [{ url: 'redis://x', nearCopy: { sise: 1 } }, /no option "sise"/],
    [{ url: 'redis://x', nearCopy: { size: -1 } }, /size/],
    [{ url: 'redis://x', nearCopy: { lease: '10ms' } }, /lease/],
    [{ url: 'redis://x', commandsQueueMaxLength: 1.5 }, /commandsQueueMaxLength/],
    [{ url: 'redis://x', cluster: { rootNodes: [] } }, /`cluster`.*url/],
    [{ cluster: { rootNodes: [] }, sentinel: { name: 'x', sentinelRootNodes: [] } }, /beside it/],
    [{ cluster: { rootNodes: [{}] }, nearCopy: {} }, /nearCopy is not available with `cluster`/],
    [{ cluster: { rootNodes: [] } }, /rootNodes must list at least one/],
    [{ client: {} }, /not a client/],
    [{ sentinel: { name: 'x', sentinelRootNodes: [], replicaPoolSize: 1 } }, /replicaPoolSize/],
    [{ cluster: { rootNodes: [{}], useReplicas: true } }, /useReplicas/],
  ])('%j are refused', async (options, message) => {
    const refused = (async () => open(options as RedisDenyListOptions))();
    await expect(refused).rejects.toThrow(JwtStateConfigError);
    await expect((async () => open(options as RedisDenyListOptions))()).rejects.toThrow(message);
  });

  it('one cache serves one module', async () => {
    const { url } = await server();
    const store = await open({ url });
    await expect(store.open({ names: new DenyListKeys('b:') })).rejects.toBeInstanceOf(
      JwtStateConfigError,
    );
  });
});

it('looked at through Keyv it answers, fails loudly, and is not cleared', async () => {
  const redis = await server();
  const cache = redisDenyList({ url: redis.url });
  const [keyv] = cache.stores;
  const store = nativeStoreOf(keyv?.store as object) as NativeStore;
  await expect(keyv?.get('a')).rejects.toThrow('not open');
  await store.open({ names: new DenyListKeys('jst:') });
  endings.push(() => store.close());
  expect(await keyv?.set('a', { some: 'thing' }, 60_000)).toBe(true);
  expect(await keyv?.get('a')).toEqual({ some: 'thing' });
  expect(await keyv?.has('a')).toBe(true);
  expect(await keyv?.delete('a')).toBe(true);
  expect(await keyv?.get('a')).toBeUndefined();
  await expect(keyv?.clear()).rejects.toThrow('cannot be cleared');
  await redis.stop();
  await expect(keyv?.get('a')).rejects.toBeDefined();
});
