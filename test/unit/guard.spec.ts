import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Reflector } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { JwtStateGuard } from '../../lib/guards/jwt-state.guard.js';
import { JwtStateStrategy } from '../../lib/guards/jwt-state.strategy.js';
import type { Assembly } from '../../lib/jwt-state.assembly.js';
import { JwtStateError, KeysUnavailableError } from '../../lib/jwt-state.errors.js';
import type { VerificationKeys } from '../../lib/keys/verification-keys.js';
import { assembled, KEYS, keysOf } from '../support/setup.js';

/*
 * passport-jwt takes whatever keeps it from a valid token for a reason to refuse it. Only what is
 * about the token is one: a mistake of ours must not log anybody out.
 */

const opened: JwtStateStrategy[] = [];
afterEach(() => {
  for (const strategy of opened.splice(0)) strategy.onApplicationShutdown();
});

/** Asks the guard of a service about a token. */
function guardOf(assembly: Assembly, Guard = JwtStateGuard, Strategy = JwtStateStrategy) {
  const { credentials, verifier, resolver, delivery, refreshCredentials } = assembly;
  const strategy = new Strategy(credentials, verifier);
  opened.push(strategy);
  const guard = new Guard(
    new Reflector(),
    strategy,
    credentials,
    resolver,
    delivery,
    refreshCredentials,
  );
  return async (token: string) => {
    const request: IncomingMessage & { user?: unknown } = new IncomingMessage(new Socket());
    request.headers.authorization = `Bearer ${token}`;
    const response = new ServerResponse(request);
    const context = new ExecutionContextHost([request, response], Routes, Routes.prototype.route);
    const asked = Promise.resolve(guard.canActivate(context));
    const outcome = await asked.catch((thrown) => ({ thrown }));
    return {
      thrown: outcome instanceof Object ? outcome.thrown : undefined,
      ran: outcome === true,
      challenge: response.getHeader('WWW-Authenticate'),
      user: request.user,
      request,
    };
  };
}

class Routes {
  route() {}
}

/** How the guard answers a token, and what it has written beside. */
const guarded = (assembly: Assembly, token: string) => guardOf(assembly)(token);

describe('passport', () => {
  it('leaves nothing on a request, be its token a new one or a known one', async () => {
    const assembly = assembled();
    const ask = guardOf(assembly);
    const { accessToken } = await assembly.tokens.issue('alice');
    for (const sight of ['first', 'second']) {
      const { ran, request } = await ask(accessToken);
      const left = ['login', 'logIn', 'isAuthenticated', '_sessionManager', 'authInfo'];
      const added = left.filter((name) => name in request);
      expect({ sight, ran, added }).toEqual({ sight, ran: true, added: [] });
    }
  });

  it('asks a guard with a handleRequest of its own about every request', async () => {
    const seen: unknown[] = [];
    class OwnGuard extends JwtStateGuard {
      override handleRequest<T>(error: unknown, user: T | false, info: unknown): T {
        seen.push(user && (user as { sub?: string }).sub);
        return super.handleRequest(error, user, info);
      }
    }
    const assembly = assembled();
    const ask = guardOf(assembly, OwnGuard);
    const { accessToken } = await assembly.tokens.issue('alice');
    const first = await ask(accessToken);
    const second = await ask(accessToken);
    const forged = await ask(`${accessToken.slice(0, -4)}AAAA`);
    expect([first.ran, second.ran, forged.ran]).toEqual([true, true, false]);
    expect(forged.thrown).toMatchObject({ code: 'TOKEN_INVALID' });
    expect(seen).toEqual(['alice', 'alice', false]);
  });

  it('asks a strategy that somebody has put in the place of this one about every request', async () => {
    const seen: unknown[] = [];
    class OwnStrategy extends JwtStateStrategy {
      override validate(request: IncomingMessage, payload: unknown) {
        seen.push((payload as { sub?: string }).sub);
        return super.validate(request, payload);
      }
    }
    const assembly = assembled();
    const ask = guardOf(assembly, JwtStateGuard, OwnStrategy);
    const { accessToken } = await assembly.tokens.issue('alice');
    expect([(await ask(accessToken)).ran, (await ask(accessToken)).ran]).toEqual([true, true]);
    expect(seen).toEqual(['alice', 'alice']);
  });

  it('is given the options of a guard that has some', async () => {
    let asked = 0;
    class OwnGuard extends JwtStateGuard {
      override getAuthenticateOptions() {
        asked += 1;
        return { session: false };
      }
    }
    const assembly = assembled();
    const ask = guardOf(assembly, OwnGuard);
    const { accessToken } = await assembly.tokens.issue('alice');
    expect([(await ask(accessToken)).ran, (await ask(accessToken)).ran]).toEqual([true, true]);
    expect(asked).toBe(2);
  });
});

describe('a look for the key that fails', () => {
  /** A service whose keys are found so, and a token that is signed as it should be. */
  async function withKeys(find: VerificationKeys['find']) {
    const keys = await keysOf(KEYS);
    const { accessToken } = await assembled({}, { keys }).tokens.issue('alice');
    const { algorithms } = keys.own;
    const own: VerificationKeys = { algorithms, accepts: (name) => keys.own.accepts(name), find };
    return guarded(assembled({}, { keys: { ...keys, own } }), accessToken);
  }
  const mistake = new TypeError('Cannot read properties of undefined');

  const MISTAKES: Record<string, [VerificationKeys['find'], unknown]> = {
    'an exception': [
      () => {
        throw mistake;
      },
      mistake,
    ],
    'a rejection': [() => Promise.reject(mistake), mistake],
    'a rejection that is no error': [() => Promise.reject('no'), 'no'],
  };

  it.each(Object.entries(MISTAKES))(
    'by a mistake is no refusal of the token: %s',
    async (_, [find, cause]) => {
      const { thrown, ran, challenge } = await withKeys(find);
      expect(ran).toBe(false);
      expect(thrown).toBe(cause);
      expect(thrown).not.toBeInstanceOf(JwtStateError);
      expect(challenge).toBeUndefined();
    },
  );

  it('since nobody can say, is 503', async () => {
    const { thrown, challenge, user } = await withKeys(() =>
      Promise.reject(new KeysUnavailableError()),
    );
    expect(thrown).toMatchObject({ code: 'KEYS_UNAVAILABLE' });
    expect([challenge, user]).toEqual([undefined, undefined]);
  });

  it.each([
    ['at once', () => undefined],
    ['later', async () => undefined],
  ])('since there is none, is 401: it is known %s', async (_, find) => {
    const { thrown, challenge } = await withKeys(find);
    expect(thrown).toMatchObject({ code: 'TOKEN_INVALID', status: 401 });
    expect(challenge).toMatch(/^Bearer realm="api", error="invalid_token"/);
  });
});

describe('an ES256 signature', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  async function signed(change: (signature: Buffer) => Buffer) {
    const keys = await keysOf({ algorithm: 'ES256', privateKey, publicKey });
    const assembly = assembled({}, { keys });
    const [head, payload, signature = ''] = (
      await assembly.tokens.issue('alice')
    ).accessToken.split('.');
    const changed = change(Buffer.from(signature, 'base64url')).toString('base64url');
    return guarded(assembly, `${head}.${payload}.${changed}`);
  }

  it('as it was made lets a request run', async () => {
    const { ran, user } = await signed((signature) => signature);
    expect([ran, user]).toEqual([true, expect.objectContaining({ sub: 'alice' })]);
  });

  const MALFORMED: Record<string, (signature: Buffer) => Buffer> = {
    'of 1 byte': () => Buffer.alloc(1),
    'of 63 bytes': (signature) => signature.subarray(1),
    'of 65 bytes': (signature) => Buffer.concat([signature, Buffer.alloc(1)]),
    'of 4,096 bytes': () => randomBytes(4_096),
    'that is empty': () => Buffer.alloc(0),
    'of zeros': () => Buffer.alloc(64),
    'of ones': () => Buffer.alloc(64, 0xff),
    'in DER': () => Buffer.from('3006020101020101', 'hex'),
    'with one bit turned': (signature) => {
      const copy = Buffer.from(signature);
      copy[0] = (copy[0] as number) ^ 1;
      return copy;
    },
  };

  it.each(Object.entries(MALFORMED))('%s is 401', async (_, change) => {
    const { thrown, challenge } = await signed(change);
    expect(thrown).toMatchObject({ code: 'TOKEN_INVALID', status: 401 });
    expect(challenge).toMatch(/^Bearer realm="api", error="invalid_token"/);
  });
});
