import { describe, expect, it } from '@jest/globals';
import { type CheckedToken, VerifiedTokens } from '../../lib/token/verified-tokens.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending, KEYS, keysOf } from '../support/setup.js';

/** What was checked does not matter here, only that it is the same thing again. */
const checked = (name: string) => ({ name }) as unknown as CheckedToken;

describe('tokens whose signature was checked', () => {
  it('are found by their whole text', () => {
    const tokens = new VerifiedTokens(10);
    tokens.add('a.b.c', checked('first'));
    expect(tokens.get('a.b.c')).toEqual(checked('first'));
    expect(tokens.get('a.b.d')).toBeUndefined();
    tokens.delete('a.b.c');
    expect(tokens.get('a.b.c')).toBeUndefined();
  });

  it('are never more than the given number', () => {
    const tokens = new VerifiedTokens(10);
    for (let n = 0; n < 1_000; n++) {
      tokens.add(`token ${n}`, checked(`${n}`));
      expect(tokens.size).toBeLessThanOrEqual(10);
    }
  });

  it('stay while they are used, though others come and go', () => {
    const tokens = new VerifiedTokens(10);
    tokens.add('mine', checked('mine'));
    for (let n = 0; n < 100; n++) {
      tokens.add(`token ${n}`, checked(`${n}`));
      expect(tokens.get('mine')).toEqual(checked('mine'));
    }
    expect(tokens.get('token 1')).toBeUndefined();
  });

  it('are none where none are wanted', () => {
    const tokens = new VerifiedTokens(0);
    tokens.add('a', checked('a'));
    expect(tokens.get('a')).toBeUndefined();
  });
});

describe('a token that was checked before', () => {
  const issue = async () => {
    const clock = new FakeClock();
    const store = new MemoryStore(clock);
    const keys = await keysOf(KEYS, clock);
    const assembly = assembled({ clockTolerance: 0 }, { clock, store, keys });
    const { accessToken, claims } = await assembly.tokens.issue('alice');
    const candidate = assembly.verifier.inspect(accessToken);
    const token = await assembly.verifier.verify(accessToken);
    const key = await assembly.verifier.keyFor(candidate);
    assembly.verifier.remember(accessToken, { token, candidate, key });
    return { ...assembly, clock, accessToken, claims, token, candidate };
  };

  it('is the same token, which nobody can change', async () => {
    const { verifier, accessToken, claims } = await issue();
    const recalled = verifier.recall(accessToken);
    expect(recalled).toEqual(claims);
    expect(Object.isFrozen(recalled)).toBe(true);
    expect(Object.isFrozen(recalled?.seen)).toBe(true);
  });

  it('ends with its exp all the same', async () => {
    const { verifier, clock, accessToken, claims } = await issue();
    clock.time = claims.exp * 1000 - 1;
    expect(verifier.recall(accessToken)).toBeDefined();
    clock.time = claims.exp * 1000;
    expect(await ending((async () => verifier.recall(accessToken))())).toBe('TOKEN_EXPIRED');
  });

  it('is held against the deny list all the same', async () => {
    const { tokens, accessToken } = await issue();
    await tokens.verify(accessToken);
    await tokens.revoke(accessToken);
    expect(await ending(tokens.verify(accessToken))).toBe('TOKEN_REVOKED');
  });

  it('is checked again when its key is another one by now', async () => {
    const { verifier, accessToken, candidate } = await issue();
    const { keys } = candidate.profile as unknown as { keys: { find: () => unknown } };
    keys.find = () => undefined;
    expect(verifier.recall(accessToken)).toBeUndefined();
    expect(await ending(verifier.verify(accessToken))).toBe('TOKEN_INVALID');
  });
});
