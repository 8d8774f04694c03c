import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createClient } from '@redis/client';
import type { Answer } from '../support/json-request.js';
import { ask, ServiceProcess } from '../support/service-process.js';
import { claimsOf } from '../support/test-app.js';

const REDIS_URL = process.env.REDIS_URL as string;
const TIMES = 100;
const STARTING = 120_000;

interface Pair {
  readonly access: string;
  readonly refresh: string;
}

describe.each([0, 5])('Two processes on one Redis, their clocks %i s apart', (ahead) => {
  const KEY_PREFIX = `refresh-processes-${randomUUID()}:`;
  const secrets = new Set<string>();
  let processes: ServiceProcess[] = [];
  const [one, other] = [() => urlOf(0), () => urlOf(1)];
  const urlOf = (index: number) => processes[index]?.url ?? '';

  beforeAll(async () => {
    const start = (PLATFORM: string, CLOCK_AHEAD: string) =>
      ServiceProcess.start('test/support/refresh-process.ts', /listens on/, {
        ...{ PLATFORM, CLOCK_AHEAD, KEY_PREFIX, REDIS_URL },
      });
    processes = await Promise.all([start('Express', '0s'), start('Fastify', `${ahead}s`)]);
  }, STARTING);

  afterAll(async () => {
    await Promise.all(processes.map((running) => running.stop()));
    const client = createClient({ url: REDIS_URL });
    await client.connect();
    for await (const page of client.scanIterator({ MATCH: `*${KEY_PREFIX}*` })) {
      if (page.length > 0) await client.del(page);
    }
    client.destroy();
    const output = processes.map((ended) => ended.output).join('\n');
    expect([...secrets].filter((secret) => output.includes(secret))).toEqual([]);
  }, STARTING);

  const me = (url: string, token: string) => ask('GET', `${url}/me`, { token });
  const post = (url: string, path: string, body: object, token?: string) =>
    ask('POST', url + path, { body: JSON.stringify(body), token });
  const logIn = async (url: string) => pairOf(await post(url, '/login', { user: 'alice' }));
  const exchange = (url: string, { refresh }: Pair) =>
    post(url, '/auth/refresh-token', { refresh_token: refresh });

  function pairOf({ status, body }: Answer): Pair {
    expect({ status, ...body }).toMatchObject({ status: 200, token_type: 'Bearer' });
    const pair = { access: body.access_token, refresh: body.refresh_token };
    for (const token of Object.values(pair)) secrets.add(token);
    return pair;
  }

  /** So many uses at once, of each token in turn, by both processes in turn. */
  async function storm(...tokens: Pair[]): Promise<Pair[][]> {
    const pairs = await Promise.all(
      Array.from({ length: TIMES }, async (_, n) => {
        const used = Math.floor(n / 2) % tokens.length;
        const answer = await exchange(urlOf(n % 2), tokens[used] as Pair);
        return { used, pair: pairOf(answer) };
      }),
    );
    return tokens.map((_, index) =>
      pairs.filter(({ used }) => used === index).map(({ pair }) => pair),
    );
  }

  /** That both processes let every access token run, as it is. */
  async function expectAlive(pairs: readonly Pair[]): Promise<void> {
    const answers = await Promise.all(
      pairs.flatMap(({ access }) => [me(one(), access), me(other(), access)]),
    );
    for (const [index, { status, body, token }] of answers.entries()) {
      const { jti } = claimsOf(pairs[Math.floor(index / 2)]?.access);
      expect({ status, jti: body.jti, token }).toEqual({ status: 200, jti, token: undefined });
    }
  }

  const successors = (pairs: readonly Pair[]) => [
    ...new Set(pairs.map(({ refresh }) => claimsOf(refresh).jti)),
  ];
  const idOf = ({ refresh }: Pair) => claimsOf(refresh).jti;

  it('are two, and tell the time differently', async () => {
    expect(new Set([one(), other()]).size).toBe(2);
    expect(processes.map(({ hasEnded }) => hasEnded)).toEqual([false, false]);
    for (const [url, offset] of [
      [one(), 0],
      [other(), ahead],
    ] as const) {
      const before = Math.floor(Date.now() / 1_000);
      const { iat } = claimsOf((await logIn(url)).access);
      expect(iat - offset).toBeGreaterThanOrEqual(before);
      expect(iat - offset).toBeLessThanOrEqual(Math.floor(Date.now() / 1_000));
    }
  });

  it('a token that one has issued is exchanged by the other, and back', async () => {
    let pair = await logIn(one());
    for (const url of [other(), one(), other()]) {
      const next = pairOf(await exchange(url, pair));
      expect(idOf(next)).not.toBe(idOf(pair));
      await expectAlive([next]);
      pair = next;
    }
  });

  it('100 parallel uses of one token end with one successor, 100 access tokens run in both', async () => {
    for (const url of [one(), other()]) {
      const first = await logIn(url);
      const [pairs] = (await storm(first)) as [Pair[]];
      expect(pairs).toHaveLength(TIMES);
      expect(successors(pairs)).toHaveLength(1);
      expect(successors(pairs)).not.toContain(idOf(first));
      expect(new Set(pairs.map(({ access }) => claimsOf(access).jti)).size).toBe(TIMES);
      await expectAlive(pairs);
      // The successor is alive for both, and has one successor itself.
      const [next] = (await storm(pairs[0] as Pair)) as [Pair[]];
      expect(successors(next)).toHaveLength(1);
      expect(successors(next)).not.toContain(idOf(pairs[0] as Pair));
    }
  });

  it('100 parallel uses of two tokens end with one successor each', async () => {
    const tokens = [await logIn(one()), await logIn(other())];
    const [these, those] = (await storm(...tokens)) as [Pair[], Pair[]];
    expect([these.length, those.length]).toEqual([TIMES / 2, TIMES / 2]);
    expect([successors(these).length, successors(those).length]).toEqual([1, 1]);
    expect(successors(these)).not.toEqual(successors(those));
    await expectAlive([...these, ...those]);
  });

  it('100 parallel uses of a token and its successor end with one more, whoever was led on', async () => {
    const first = await logIn(one());
    const second = pairOf(await exchange(other(), first));
    const [ofFirst, ofSecond] = (await storm(first, second)) as [Pair[], Pair[]];
    const [third = '', ...more] = successors(ofSecond);
    expect(more).toEqual([]);
    // The tip at that moment: the successor, or what replaced it meanwhile.
    const tips = [idOf(second), third];
    expect(successors(ofFirst).filter((id) => !tips.includes(id))).toEqual([]);
    await expectAlive([...ofFirst, ...ofSecond]);
    for (const url of [one(), other()]) {
      for (const used of [first, second]) {
        expect(idOf(pairOf(await exchange(url, used)))).toBe(third);
      }
    }
  });

  it('a log-out at one ends it at the other, in the midst of uses', async () => {
    const first = await logIn(one());
    const uses = Array.from({ length: 20 }, () => exchange(other(), first));
    const out = await post(one(), '/logout', {}, first.access);
    expect(out.body).toEqual({ loggedOut: true });
    const answers = await Promise.all(uses);
    const brought = answers.filter(({ status }) => status === 200).map(pairOf);
    for (const url of [one(), other()]) {
      for (const pair of [first, ...brought]) {
        expect(await me(url, pair.access)).toMatchObject({ status: 401 });
        expect(await exchange(url, pair)).toMatchObject({
          status: 400,
          body: { code: 'INVALID_GRANT' },
        });
      }
    }
    const others = answers.filter(({ status }) => status !== 200);
    expect(others.filter(({ body }) => body.code !== 'INVALID_GRANT')).toEqual([]);
  });
});
