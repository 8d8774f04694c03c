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

/** How the guard answers a token, and what it has written beside. */
async function guarded(assembly: Assembly, token: string) {
  const { credentials, verifier, resolver, delivery, refreshCredentials } = assembly;
  const strategy = new JwtStateStrategy(credentials, verifier);
  opened.push(strategy);
  const guard = new JwtStateGuard(
    new Reflector(),
    strategy,
    credentials,
    resolver,
    delivery,
    refreshCredentials,
  );
  const request = new IncomingMessage(new Socket());
  request.rawHeaders.push('Authorization', `Bearer ${token}`);
  const response = new ServerResponse(request);
  class Controller {
    route() {}
  }
  const context = new ExecutionContextHost(
    [request, response],
    Controller,
    Controller.prototype.route,
  );
  const outcome = await Promise.resolve(guard.canActivate(context)).catch((thrown) => ({ thrown }));
  return {
    thrown: outcome instanceof Object ? outcome.thrown : undefined,
    ran: outcome === true,
    challenge: response.getHeader('WWW-Authenticate'),
    user: (request as { user?: unknown }).user,
  };
}

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
    expect(challenge).toMatch(/^Bearer error="invalid_token"/);
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
    expect(challenge).toMatch(/^Bearer error="invalid_token"/);
  });
});
