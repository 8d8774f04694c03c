import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from '@jest/globals';
import KeyvRedis from '@keyv/redis';
import { Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import * as redis from '@redis/client';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { createStore } from '../../lib/deny-list/create-store.js';
import { JwtStateConfigError, JwtStateModule } from '../../lib/index.js';
import { createLink } from '../../lib/redis/create-link.js';
import { type RedisDenyListOptions, redisDenyList } from '../../lib/redis/index.js';
import { CapturedLog } from '../support/captured-log.js';
import { KEYS } from '../support/setup.js';

const NODE = { host: '127.0.0.1', port: 1 };
const SENTINEL = { name: 'tokens', sentinelRootNodes: [NODE] };
const ENCODE = /encodeURIComponent\(password\)/;

/** What redisDenyList() throws, and everything that a log would print of it. */
function refusal(options: unknown): { error: unknown; printed: string } {
  try {
    redisDenyList(options as RedisDenyListOptions);
  } catch (error) {
    return { error, printed: inspect(error, { depth: 20, showHidden: true }) };
  }
  throw new Error('It was not refused.');
}

describe('a URL with a password that is not encoded', () => {
  const url = 'redis://:hunter2#hunter2@127.0.0.1:6379';

  it.each<[unknown, string]>([
    [{ url }, 'redisDenyList.url'],
    [{ url: 'redis://user:hunter2/hunter2@host' }, 'redisDenyList.url'],
    [{ url: 'redis://user:hunter2?hunter2@host' }, 'redisDenyList.url'],
    [{ url: 'redis://hunter2:12#hunter2@host' }, 'redisDenyList.url'],
    [{ url: 'rediss://user:12/hunter2@host' }, 'redisDenyList.url'],
    [{ url: 'redis://user:hunter2%zz@host' }, 'redisDenyList.url'],
    [{ url: 'redis://hunter2 hunter2:hunter2@ho st' }, 'redisDenyList.url'],
    [
      { cluster: { rootNodes: [{ url: 'redis://host' }, { url }] } },
      'redisDenyList.cluster.rootNodes[1].url',
    ],
    [
      { cluster: { rootNodes: [{ url: 'redis://host' }], defaults: { url } } },
      'redisDenyList.cluster.defaults.url',
    ],
  ])('is refused without being quoted: %j', (options, name) => {
    const { error, printed } = refusal(options);
    expect(error).toBeInstanceOf(JwtStateConfigError);
    expect((error as Error).message).toContain(`${name} is not a valid URL`);
    expect((error as Error).message).toMatch(ENCODE);
    expect(printed).not.toContain('hunter2');
  });

  it.each<[unknown, RegExp]>([
    [{ url: 'hunter2:foo' }, /redisDenyList\.url must begin with redis:\/\//],
    [{ url: 'https://hunter2@host' }, /redisDenyList\.url must begin with redis:\/\//],
    [{ url: '' }, /redisDenyList\.url must be a string.*not empty/],
    [{ url: { secret: 'hunter2' } }, /redisDenyList\.url must be a string/],
    [
      { url: 'redis://:hunter2@host', socket: { tls: true } },
      /begins with redis:\/\/, but socket\.tls is true/,
    ],
    [
      { url: 'rediss://:hunter2@host', socket: { tls: false } },
      /begins with rediss:\/\/, but socket\.tls is false/,
    ],
    [
      { sentinel: { ...SENTINEL, nodeClientOptions: { url } } },
      /sentinel\.nodeClientOptions\.url must not be set/,
    ],
    [
      { sentinel: { ...SENTINEL, sentinelClientOptions: { url } } },
      /sentinel\.sentinelClientOptions\.url must not be set/,
    ],
    [{ sentinel: 'redis://:hunter2@host' }, /redisDenyList\.sentinel must be an object/],
    ['redis://:hunter2@host', /redisDenyList\(\) takes an object: redisDenyList\(\{ url \}\)/],
    [undefined, /takes an object/],
  ])('nor is any other: %j', (options, message) => {
    const { error, printed } = refusal(options);
    expect(error).toBeInstanceOf(JwtStateConfigError);
    expect((error as Error).message).toMatch(message);
    expect(printed).not.toContain('hunter2');
  });

  it('is in nothing that Nest prints when the boot ends', async () => {
    const log = new CapturedLog();
    const seen: unknown[] = [];
    const printing = { ...log, error: (...parts: unknown[]) => seen.push(...parts) };
    @Module({
      imports: [
        JwtStateModule.forRootAsync({
          useFactory: () => ({ keys: KEYS, denyList: { cache: redisDenyList({ url }) } }),
        }),
      ],
    })
    class AppModule {}
    const boot = NestFactory.createApplicationContext(AppModule, {
      abortOnError: false,
      logger: printing as never,
    });
    const error = await boot.catch((reason: unknown) => reason);
    Logger.overrideLogger(false);
    expect(error).toBeInstanceOf(JwtStateConfigError);
    expect(seen.length).toBeGreaterThan(0);
    expect(inspect([error, seen, log.lines], { depth: 20, showHidden: true })).not.toContain(
      'hunter2',
    );
  });

  it.each([
    'redis://127.0.0.1',
    'redis://user:p%23ss%2Fword@127.0.0.1:6379/2',
    'redis://:p@ss:word@127.0.0.1',
    'rediss://[::1]:6380/0',
    'unix:///run/redis.sock',
  ])('but one that is in order is taken: %s', (wellFormed) => {
    expect(() => redisDenyList({ url: wellFormed })).not.toThrow();
  });
});

describe('whatever @redis/client says of options', () => {
  const parts = { tracking: undefined, deadline: undefined, servers: undefined };
  const silent = { up: () => {}, down: () => {}, outdated: () => {} };

  it.each([
    ['redis://:hunter2#@host', 'Invalid URL'],
    ['ftp://:hunter2@host', 'not a valid Redis protocol'],
    ['redis://:hunter2@host', 'quotes a URL'],
  ])('%s is told without quoting them', (url, said) => {
    const config = {
      target: { kind: 'server', options: { url, socket: { tls: true } as never } },
      commandsQueueMaxLength: 1,
      nearCopy: undefined,
    } as const;
    let error: unknown;
    try {
      createLink(config, parts, silent);
    } catch (reason) {
      error = reason;
    }
    expect(error).toBeInstanceOf(JwtStateConfigError);
    expect((error as Error).message).toContain(said);
    expect(inspect(error, { showHidden: true })).not.toContain('hunter2');
  });
});

it('a deny list that is printed shows no password', () => {
  for (const options of [
    { url: 'redis://:hunter2@127.0.0.1:1' },
    { password: 'hunter2' },
    { sentinel: { ...SENTINEL, nodeClientOptions: { password: 'hunter2' } } },
    { cluster: { rootNodes: [{ url: 'redis://:hunter2@127.0.0.1:1' }] } },
  ] as RedisDenyListOptions[]) {
    const cache = redisDenyList(options);
    expect(inspect(cache, { depth: 20 })).not.toContain('hunter2');
    expect(inspect(cache.stores[0], { depth: 20 })).not.toContain('hunter2');
    expect(JSON.stringify(cache.stores)).not.toContain('hunter2');
  }
});

/** By the methods that tell them apart; `npm run test:matrix` passes real ones of ioredis. */
const called = () => Promise.resolve('OK');
const ioredis = {
  ...{ connect: called, set: called, eval: called, on: called, sendCommand: called },
  ...{ defineCommand: called, getBuiltinCommands: called },
};
const nodeRedis3 = {
  ...{ connect: called, set: called, eval: called, on: called },
  ...{ internal_send_command: called },
};

describe('a client of another package', () => {
  const legacy = (redis.createClient() as unknown as { legacy(): object }).legacy();

  it.each<[string, object, RegExp]>([
    ['ioredis', ioredis, /`client` is a client of ioredis/],
    ['redis 3', nodeRedis3, /`client` is a client of the package redis before version 4/],
    ['legacy mode', legacy, /`client` is what client\.legacy\(\) answers/],
    ['any other', { set: called, eval: called }, /`client` is not a client of @redis\/client/],
    ['none', null as never, /`client` is not a client of @redis\/client/],
  ])('is refused by name before anything is asked: %s', (_, client, message) => {
    expect(() => redisDenyList({ client })).toThrow(JwtStateConfigError);
    expect(() => redisDenyList({ client })).toThrow(message);
  });

  it('is refused in the place of the options, too', () => {
    expect(() => redisDenyList(ioredis as never)).toThrow(/redisDenyList\(\{ client \}\)/);
  });

  it.each<[string, object, RegExp]>([
    ['ioredis', ioredis, /the client of its KeyvRedis is a client of ioredis/],
    ['redis 3', nodeRedis3, /the client of its KeyvRedis is a client of the package redis before/],
  ])('is refused under @keyv/redis: %s', (_, client, message) => {
    const cache = createCache({ stores: [new Keyv(new KeyvRedis(client as never))] });
    const create = () => createStore({ cache, prefix: 'jst:', lookupTimeout: 150 });
    expect(create).toThrow(JwtStateConfigError);
    expect(create).toThrow(message);
  });
});

afterEach(() => Logger.overrideLogger(['log', 'warn', 'error']));
