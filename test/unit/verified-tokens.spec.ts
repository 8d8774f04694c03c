import { describe, expect, it } from '@jest/globals';
import { type CheckedToken, VerifiedTokens } from '../../lib/token/verified-tokens.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending, KEYS, keysOf } from '../support/setup.js';

/** What was checked does not matter here, only that it is the same thing again. */
const checked = (text: string) => ({ text }) as unknown as CheckedToken;

describe('tokens whose signature was checked', () => {
  it('are found by their whole text', () => {
    const tokens = new VerifiedTokens(10);
    tokens.add(checked('a.b.c'));
    expect(tokens.get('a.b.c')).toEqual(checked('a.b.c'));
    expect(tokens.get('a.b.d')).toBeUndefined();
    tokens.delete('a.b.c');
    expect(tokens.get('a.b.c')).toBeUndefined();
  });

  it('are found by their whole text, also where only their beginnings differ', () => {
    const tokens = new VerifiedTokens(10);
    const end = 'the same signature, or its last characters';
    tokens.add(checked(`header.payload.${end}`));
    expect(tokens.get(`header.forged.${end}`)).toBeUndefined();
    expect(tokens.get(`${'x'.repeat(500)}.payload.${end}`)).toBeUndefined();
    expect(tokens.get(end.slice(-24))).toBeUndefined();
    expect(tokens.get(`header.payload.${end}`)).toBeDefined();
    // In the older generation, too.
    for (let n = 0; n < 10; n++) tokens.add(checked(`${n}`));
    expect(tokens.get(`header.forged.${end}`)).toBeUndefined();
    expect(tokens.get(`header.payload.${end}`)).toBeDefined();
  });

  it('are as many as the given number for sure, and never more than twice as many', () => {
    const tokens = new VerifiedTokens(10);
    for (let n = 0; n < 1_000; n++) {
      tokens.add(checked(`token ${n}`));
      expect(tokens.size).toBeLessThanOrEqual(20);
    }
    for (let n = 991; n < 1_000; n++) expect(tokens.get(`token ${n}`)).toBeDefined();
  });

  it('stay while they are used, though others come and go', () => {
    const tokens = new VerifiedTokens(10);
    tokens.add(checked('mine'));
    for (let n = 0; n < 100; n++) {
      tokens.add(checked(`token ${n}`));
      expect(tokens.get('mine')).toEqual(checked('mine'));
    }
    expect(tokens.get('token 1')).toBeUndefined();
  });

  it('are none where none are wanted', () => {
    const tokens = new VerifiedTokens(0);
    tokens.add(checked('a'));
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
    assembly.verifier.remember({ text: accessToken, token, candidate, key });
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
    await tokens.revoke({ token: accessToken });
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
