import { afterEach, describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import {
  ClaimsInvalidError,
  DenyListUnavailableError,
  type JwtStateError,
  JwtStateExceptionFilter,
  JwtStateGuard,
  Public,
  TokenService,
} from 'nestjs-jwt-state';
import { isObservable, lastValueFrom } from 'rxjs';
import { closeApps, log, startApp, type TestApp } from '../support/test-app.js';

/*
 * Handlers that Nest runs for something else than its own HTTP routes: libraries for RabbitMQ, bots,
 * queues and command lines do so by ExternalContextCreator. What does not throw there is acknowledged.
 */

@Injectable()
class Subscriber {
  constructor(private readonly tokens: TokenService) {}

  async planChanged({ userId }: { userId: string }) {
    await this.tokens.markStale({ sub: userId });
    return 'marked';
  }

  @Public()
  async open({ userId }: { userId: string }) {
    return this.planChanged({ userId });
  }

  @Public({ optional: true })
  optional() {
    return 'a guest';
  }

  @Public()
  async mistaken() {
    await this.tokens.issue('alice', { exp: 1 });
  }
}

@Public()
@Injectable()
class OpenSubscriber {
  inherits() {
    return 'ran';
  }
}

/** What libraries name theirs, and the name that Nest gives to those that do not. */
const TYPES = ['rmq', 'telegraf', 'necord', 'graphql', 'http'];

describe('A handler of another context', () => {
  afterEach(closeApps);

  const start = (guard?: 'global') =>
    startApp({ options: { guard }, providers: [Subscriber, OpenSubscriber] });

  function run(app: TestApp, type: string, name: keyof Subscriber, ...more: unknown[]) {
    const subscriber = app.nest.get(Subscriber);
    const handler = subscriber[name] as (...args: unknown[]) => unknown;
    return call(app, type, subscriber, name, handler, [{ userId: 'alice' }, ...more]);
  }

  function call(
    app: TestApp,
    type: string,
    instance: object,
    name: string,
    handler: (...args: unknown[]) => unknown,
    args: unknown[] = [],
  ): Promise<unknown> {
    const contexts = app.nest.get(ExternalContextCreator);
    const none = undefined;
    const proxy = contexts.create(
      instance as Record<string, (...args: unknown[]) => unknown>,
      handler,
      name,
      none,
      none,
      none,
      none,
      none,
      type,
    );
    return proxy(...args);
  }

  describe.each(TYPES)('of type %s', (type) => {
    it('succeeds where the store takes the mark, and fails where it does not', async () => {
      const app = await start();
      expect(await run(app, type, 'planChanged')).toBe('marked');
      app.store.fail();
      const failure = { code: 'DENY_LIST_UNAVAILABLE', status: 503 };
      await expect(run(app, type, 'planChanged')).rejects.toMatchObject(failure);
      // As a library gives it the message, and something of its own beside.
      for (const more of [{}, { ack: () => {} }, null, 'routing key']) {
        await expect(run(app, type, 'planChanged', more)).rejects.toMatchObject(failure);
      }
    });

    it('fails with its mistake, which is logged', async () => {
      const app = await start();
      await expect(run(app, type, 'mistaken')).rejects.toMatchObject({ code: 'CLAIMS_INVALID' });
      expect(log.text).toMatch(/ERROR CLAIMS_INVALID: /);
    });

    it('answers under a global guard where it is @Public(), or its class is', async () => {
      const app = await start('global');
      expect(await run(app, type, 'open')).toBe('marked');
      expect(await run(app, type, 'optional')).toBe('a guest');
      const open = app.nest.get(OpenSubscriber);
      expect(await call(app, type, open, 'inherits', open.inherits)).toBe('ran');
      app.store.fail();
      const failure = { code: 'DENY_LIST_UNAVAILABLE' };
      await expect(run(app, type, 'open')).rejects.toMatchObject(failure);
    });

    it('is refused under a global guard where it is not, and the log says why', async () => {
      const app = await start('global');
      const attempt = run(app, type, 'planChanged');
      await expect(attempt).rejects.toMatchObject({ code: 'WRONG_CONTEXT', status: 500 });
      await expect(attempt).rejects.toThrow(/Subscriber\.planChanged.*Mark it @Public\(\)/s);
      expect(log.text).toMatch(
        new RegExp(`ERROR WRONG_CONTEXT: .*Subscriber\\.planChanged.*"${type}"`),
      );
    });
  });

  it('of type rpc gets a stream that fails, as the servers of Nest want it', async () => {
    const app = await start('global');
    app.store.fail();
    for (const [name, code] of [
      ['open', 'DENY_LIST_UNAVAILABLE'],
      ['planChanged', 'WRONG_CONTEXT'],
    ] as const) {
      const outcome = await run(app, 'rpc', name);
      if (!isObservable(outcome)) throw new Error('It is no stream.');
      await expect(lastValueFrom(outcome)).rejects.toMatchObject({ code });
      expect(log.text).toMatch(new RegExp(`(WARN|ERROR) ${code}: `));
    }
  });

  it('of type ws is refused under a global guard, and the log says why without a filter', async () => {
    const app = await start('global');
    const guard = app.nest.get(JwtStateGuard);
    const handler = Subscriber.prototype.planChanged;
    const context = new ExecutionContextHost([{}, {}, 'pattern'], Subscriber, handler);
    context.setType('ws');
    expect(() => guard.canActivate(context)).toThrow(/Mark it @Public\(\)/);
    expect(log.text).toMatch(/ERROR WRONG_CONTEXT: .*Subscriber\.planChanged.*"ws"/);
  });

  it('of type ws fails, and its client is told', async () => {
    const app = await start();
    app.store.fail();
    const emitted: unknown[] = [];
    const client = { emit: (...told: unknown[]) => emitted.push(told), userId: 'alice' };
    const subscriber = app.nest.get(Subscriber);
    const handler = () => subscriber.planChanged(client);
    const outcome = call(app, 'ws', subscriber, 'planChanged', handler, [client]);
    const code = 'DENY_LIST_UNAVAILABLE';
    await expect(outcome).rejects.toMatchObject({ code });
    expect(emitted).toEqual([
      ['exception', { status: 'error', code, message: expect.any(String) }],
    ]);
  });
});

describe('An error of this module', () => {
  afterEach(closeApps);

  const cause = new Error('connect ECONNREFUSED 10.0.0.1:6379');
  const ERRORS: [string, JwtStateError, string][] = [
    ['503', new DenyListUnavailableError(undefined, cause), 'The deny list cannot be reached.'],
    ['500', new ClaimsInvalidError('of the inside'), 'Internal Server Error'],
  ];

  it.each(ERRORS)('shows as JSON what HTTP would: %s', (_, error, message) => {
    const shown = JSON.parse(JSON.stringify(error));
    const { code } = error;
    const statusCode = error.getStatus();
    expect(shown).toEqual({ statusCode, code, message, error: expect.any(String) });
  });

  it.each(ERRORS)(
    'reaches sockets of both kinds, and says no more there: %s',
    (_, error, message) => {
      const told: unknown[] = [];
      const socketIo = { emit: (...args: unknown[]) => told.push(args) };
      const webSocket = {
        readyState: 1,
        // Its own `emit` is Node's, and stays in the process.
        emit: () => told.push('nobody hears it'),
        send: (text: string) => {
          const { event, data } = JSON.parse(text);
          told.push([event, data]);
        },
      };
      const filter = new JwtStateExceptionFilter();
      for (const client of [socketIo, webSocket, {}, undefined]) {
        const host = new ExecutionContextHost([client, {}, 'pattern']);
        host.setType('ws');
        // What it threw would end the process: Nest calls it from an event.
        expect(filter.catch(error, host)).toBeUndefined();
      }
      const data = { status: 'error', code: error.code, message };
      expect(told).toEqual([
        ['exception', data],
        ['exception', data],
      ]);
    },
  );
});
