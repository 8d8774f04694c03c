import { describe, expect, it } from '@jest/globals';
import { type Mark, type MarkSnapshot, pendingAfter, seenBy } from '../../lib/deny-list/marks.js';

const ALICE = { name: 'sub', value: 'alice' };
const ACME = { name: 'tenant', value: 'acme' };
const NOW = 1_800_000_000_000;

const snapshot = (...marks: Mark[]): MarkSnapshot => ({
  epoch: 'epoch',
  scopes: [ALICE, ACME],
  marks,
  readAt: NOW,
});
const revoked = (id: string, scope = ALICE): Mark => ({ kind: 'revoked', scope, id });
const stale = (id: string, pending: [string, number][] = []): Mark => ({
  kind: 'stale',
  scope: ALICE,
  id,
  pending: new Map(pending),
});

describe('what a new token has seen', () => {
  it('at a log-in: all that is there of its scopes', () => {
    const marks = [revoked('a'), revoked('b', ACME), { ...revoked('c'), kind: 'revoked-others' }];
    const seen = seenBy(snapshot(...(marks as Mark[]), stale('s')), [ALICE]);
    expect(seen).toEqual({ epoch: 'epoch', stale: ['s'], revoked: ['a', 'c'] });
  });

  it('at a reissue: no revocation that its session has not seen, however it came to be read', () => {
    const before = { revoked: ['a'], scopes: [ALICE] };
    expect(seenBy(snapshot(revoked('a'), stale('s')), [ALICE], before)).toEqual({
      epoch: 'epoch',
      stale: ['s'],
      revoked: ['a'],
    });
    expect(seenBy(snapshot(revoked('b')), [ALICE], before).revoked).toBeUndefined();
  });

  it('where it is new: what is there of that scope, and of no other', () => {
    const before = { revoked: [], scopes: [ALICE] };
    const seen = seenBy(snapshot(revoked('a'), revoked('b', ACME)), [ALICE, ACME], before);
    expect(seen.revoked).toEqual(['b']);
  });

  it('is provisional until the first of several handlers must have ended', () => {
    const mark = stale('s', [
      ['one', NOW + 9_000],
      ['two', NOW + 5_000],
      ['three', NOW],
    ]);
    expect(seenBy(snapshot(mark), [ALICE]).until).toBe(NOW + 5_000);
  });
});

describe('the handlers at work after a change', () => {
  const standing = new Map([
    ['one', NOW + 1],
    ['ended', NOW],
  ]);

  it('are those before, without the one that has ended, and whose time has passed', () => {
    expect([...pendingAfter(standing, {}, NOW)]).toEqual([['one', NOW + 1]]);
    expect([...pendingAfter(standing, { closes: 'one' }, NOW)]).toEqual([]);
    expect([...pendingAfter(undefined, { closes: 'one' }, NOW)]).toEqual([]);
  });

  it('and the one that begins: of two under one name the later deadline counts', () => {
    const opens = (until: number) => ({ opens: { owner: 'one', until } });
    expect(pendingAfter(standing, opens(NOW + 5), NOW).get('one')).toBe(NOW + 5);
    expect(pendingAfter(standing, opens(NOW - 5), NOW).get('one')).toBe(NOW + 1);
  });
});
