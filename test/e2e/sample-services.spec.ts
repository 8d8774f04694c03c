import { createHmac, createPrivateKey, type JsonWebKey, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createClient } from '@redis/client';
import { forge } from '../support/forge.js';
import type { Answer } from '../support/json-request.js';
import { ask, freePort, ServiceProcess, until } from '../support/service-process.js';
import { claimsOf } from '../support/test-app.js';

const SAMPLE = 'sample/02-services';
const MINUTES = 60_000;
const WEBHOOK_SECRET: string = randomUUID();

/** What nobody may find in a log. */
const secrets = new Set<string>([WEBHOOK_SECRET]);

interface Device {
  access: string;
  refresh: string;
}

/** The services as their clients see them. */
class World {
  readonly directory = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-sample-'));
  readonly keysFile = join(this.directory, 'keys.json');
  private readonly prefix = `sample-services-${randomUUID()}:`;
  readonly processes: ServiceProcess[] = [];
  issuer = '';
  reports = '';

  readonly env = {
    REDIS_URL: process.env.REDIS_URL as string,
    KEY_PREFIX: this.prefix,
    KEYS_FILE: this.keysFile,
    WEBHOOK_SECRET,
    // Their machine may be busy, and this is not what these tests are about.
    LOOKUP_TIMEOUT: '10s',
  };

  async start(script: string, ready: RegExp, env: Record<string, string> = {}) {
    const started = await ServiceProcess.start(`${SAMPLE}/${script}`, ready, {
      ...this.env,
      ...env,
    });
    this.processes.push(started);
    return started;
  }

  rotate(step: string): Promise<string> {
    return ServiceProcess.finish(`${SAMPLE}/rotate-keys.ts`, [step], this.env);
  }

  keys(): JsonWebKey[] {
    return JSON.parse(readFileSync(this.keysFile, 'utf8'));
  }

  /** Ends the processes, looks through all they have written, and leaves nothing in Redis. */
  async close(): Promise<void> {
    await Promise.all(this.processes.map((running) => running.stop()));
    const client = createClient({ url: this.env.REDIS_URL });
    await client.connect();
    for await (const page of client.scanIterator({ MATCH: `*${this.prefix}*` })) {
      if (page.length > 0) await client.del(page);
    }
    client.destroy();
    rmSync(this.directory, { recursive: true, force: true });
    const output = this.processes.map((ended) => ended.output).join('\n');
    expect([...secrets].filter((secret) => output.includes(secret))).toEqual([]);
  }

  // --- what clients do -------------------------------------------------------------------------

  me = (token: string) => keep(ask('GET', `${this.issuer}/me`, { token }));
  report = (token: string) => keep(ask('GET', `${this.reports}/reports`, { token }));

  post(path: string, token?: string, body?: object): Promise<Answer> {
    const json = body && JSON.stringify(body);
    return keep(ask('POST', this.issuer + path, { token, ...(json && { body: json }) }));
  }

  async logIn(username: string): Promise<Device> {
    const password = `${username}-password`;
    return pairOf(await this.post('/auth/login', undefined, { username, password }));
  }

  refresh({ refresh }: Device): Promise<Answer> {
    return this.post('/auth/refresh-token', undefined, { refresh_token: refresh });
  }

  pay(event: { id?: string; username: string; plan: string }): Promise<Answer> {
    return this.webhook(JSON.stringify({ id: randomUUID(), ...event }));
  }

  webhook(body: string, signature = signatureOf(body)): Promise<Answer> {
    return ask('POST', `${this.issuer}/webhooks/payment`, {
      body,
      ...(signature !== '' && { headers: { 'webhook-signature': signature } }),
    });
  }
}

describe('sample/02-services: one issues, the other verifies', () => {
  const world = new World();
  let issuer: ServiceProcess;

  beforeAll(async () => {
    const { generateKey, writeKeys } = await import(
      '../../sample/02-services/issuer/keys/key-file.js'
    );
    await writeKeys(world.keysFile, [generateKey()]);
    const grace = { REISSUE_GRACE: '8s' };
    issuer = await world.start('issuer/main.ts', /listens on/, { ...grace, ISSUER_PORT: '0' });
    world.issuer = issuer.url;
    const JWKS_URI = `${issuer.url}/.well-known/jwks.json`;
    const env = { ...grace, REPORTS_PORT: '0', JWKS_URI };
    world.reports = (await world.start('reports/main.ts', /listens on/, env)).url;
  }, 3 * MINUTES);

  afterAll(() => world.close(), MINUTES);

  it(
    'a change at the issuer counts at the next request to the other',
    async () => {
      await world.pay({ username: 'alice', plan: 'free' });
      const [phone, laptop] = [await world.logIn('alice'), await world.logIn('alice')];
      expect((await world.report(phone.access)).status).toBe(403);
      expect((await world.report(laptop.access)).status).toBe(403);

      const upgraded = await world.post('/subscription/upgrade', phone.access);
      expect(upgraded).toMatchObject({ status: 200, body: { plan: 'premium' } });
      // In its grace period the old one stands for the new one.
      expect(await world.report(phone.access)).toMatchObject({
        status: 200,
        body: { sub: 'alice', plan: 'premium' },
      });
      expect(await world.report(upgraded.token as string)).toMatchObject({
        status: 200,
        body: { sub: 'alice', plan: 'premium' },
        token: undefined,
      });

      // The other device: whoever cannot reissue sends it to who can.
      expectRefusal(await world.report(laptop.access), 'TOKEN_STALE');
      const seen = await world.me(laptop.access);
      expect(seen).toMatchObject({ status: 200, body: { plan: 'premium' } });
      expect((await world.report(seen.token as string)).status).toBe(200);

      await until('the grace period is over', async () => {
        return (await world.report(phone.access)).status === 401;
      });
      expectRefusal(await world.report(phone.access), 'TOKEN_SUPERSEDED');
      expectRefusal(await world.me(phone.access), 'TOKEN_SUPERSEDED');
    },
    2 * MINUTES,
  );

  it('a payment makes the tokens of its user stale; a refresh brings the new plan', async () => {
    await world.pay({ username: 'bob', plan: 'free' });
    let device = await world.logIn('bob');
    expect((await world.report(device.access)).status).toBe(403);

    expect(await world.pay({ username: 'bob', plan: 'premium' })).toMatchObject({
      status: 200,
      body: { received: true },
    });
    expectRefusal(await world.report(device.access), 'TOKEN_STALE');
    device = pairOf(await world.refresh(device));
    expect(await world.report(device.access)).toMatchObject({
      status: 200,
      body: { sub: 'bob', plan: 'premium' },
    });

    await world.pay({ username: 'bob', plan: 'free' });
    expectRefusal(await world.report(device.access), 'TOKEN_STALE');
    device = pairOf(await world.refresh(device));
    expect((await world.report(device.access)).status).toBe(403);
  });

  it('a webhook that is not signed, or not by the provider, changes nothing', async () => {
    await world.pay({ username: 'bob', plan: 'free' });
    const { access } = await world.logIn('bob');
    const body = JSON.stringify({ id: randomUUID(), username: 'bob', plan: 'premium' });
    const minutesAgo = (minutes: number) => Math.floor(Date.now() / 1000) - minutes * 60;
    const bad = [
      '',
      'v1=',
      signatureOf(body, { secret: 'another secret' }),
      signatureOf(body.replace('bob', 'eve')),
      signatureOf(body, { time: minutesAgo(6) }),
      signatureOf(body, { time: minutesAgo(-6) }),
      signatureOf(body).replace(/t=\d+/, `t=${minutesAgo(1)}`),
    ];
    for (const signature of bad) {
      expect((await world.webhook(body, signature)).status).toBe(401);
    }
    expect(await world.report(access)).toMatchObject({ status: 403 });
    expect(await world.me(access)).toMatchObject({ status: 200, body: { plan: 'free' } });
    // The same bytes, said in another way: the signature is over what was sent.
    const spaced = JSON.stringify(JSON.parse(body), null, 2);
    expect((await world.webhook(spaced, signatureOf(body))).status).toBe(401);
    expect((await world.webhook(spaced)).status).toBe(200);
  });

  it('a payment that is sent twice counts once', async () => {
    const event = { id: randomUUID(), username: 'bob', plan: 'premium' };
    expect((await world.pay(event)).status).toBe(200);
    await world.pay({ username: 'bob', plan: 'free' });
    const { access } = await world.logIn('bob');
    expect(await world.pay(event)).toMatchObject({ status: 200, body: { repeated: true } });
    expect(await world.me(access)).toMatchObject({ body: { plan: 'free' }, token: undefined });
    expect((await world.report(access)).status).toBe(403);
  });

  it.each([
    [{ id: 'x', username: 'nobody', plan: 'free' }, 404],
    [{ id: 'x', username: 'bob', plan: 'gold' }, 400],
    [{ username: 'bob', plan: 'free' }, 400],
    [[], 400],
  ])('a payment that says %j is answered with %i', async (event, status) => {
    expect((await world.webhook(JSON.stringify(event))).status).toBe(status);
  });

  it('log-out ends one session, log-out everywhere all of them, in both services', async () => {
    await world.pay({ username: 'bob', plan: 'premium' });
    const devices = [await world.logIn('bob'), await world.logIn('bob'), await world.logIn('bob')];
    for (const { access } of devices) expect((await world.report(access)).status).toBe(200);
    const [first, second, third] = devices as [Device, Device, Device];

    expect((await world.post('/auth/logout', first.access)).status).toBe(200);
    expectRefusal(await world.report(first.access), 'TOKEN_REVOKED');
    expect((await world.report(second.access)).status).toBe(200);

    expect((await world.post('/auth/logout-everywhere', second.access)).status).toBe(200);
    for (const device of [second, third]) await expectEnded(world, device);

    const again = await world.logIn('bob');
    expect((await world.report(again.access)).status).toBe(200);
    expect((await world.refresh(again)).status).toBe(200);
  });

  it('an administrator changes a role', async () => {
    const root = await world.logIn('root');
    const bob = await world.logIn('bob');
    const change = (token: string, body: object) =>
      world.post('/admin/users/bob/role', token, body);
    expect((await change(bob.access, { role: 'admin' })).status).toBe(403);
    expect((await change(root.access, { role: 'emperor' })).status).toBe(400);
    expect((await change(root.access, { role: 'admin' })).status).toBe(200);
    expectRefusal(await world.report(bob.access), 'TOKEN_STALE');
    const seen = await world.me(bob.access);
    expect(seen.body).toMatchObject({ role: 'admin' });
    expect((await change(seen.token as string, { role: 'member' })).status).toBe(200);
    expect((await change(seen.token as string, { role: 'admin' })).status).toBe(403);
    const nobody = await world.post('/admin/users/nobody/role', root.access, { role: 'admin' });
    expect(nobody.status).toBe(404);
  });

  it('a tenant that a session has chosen survives its refreshes', async () => {
    await world.pay({ username: 'alice', plan: 'premium' });
    const [phone, laptop] = [await world.logIn('alice'), await world.logIn('alice')];
    const switched = await world.post('/tenant', phone.access, { tenant: 'globex' });
    expect(switched).toMatchObject({ status: 200, body: { tenant: 'globex' } });
    expect((await world.report(switched.token as string)).body).toMatchObject({ tenant: 'globex' });
    // With the refresh token from before the switch, and with its successors.
    let device = pairOf(await world.refresh(phone));
    expect((await world.report(device.access)).body).toMatchObject({ tenant: 'globex' });
    device = pairOf(await world.refresh(device));
    expect((await world.report(device.access)).body).toMatchObject({ tenant: 'globex' });
    // And the user's own changes.
    await world.pay({ username: 'alice', plan: 'premium' });
    expect((await world.me(device.access)).body).toMatchObject({ tenant: 'globex' });

    expect((await world.me(laptop.access)).body).toMatchObject({ tenant: 'acme' });
    const denied = await world.post('/tenant', laptop.access, { tenant: 'operations' });
    expect(denied.status).toBe(403);
    expect((await world.post('/tenant', laptop.access, {})).status).toBe(400);
  });

  it('a tenant that is shut: its sessions end, and nobody enters it any more', async () => {
    await world.pay({ username: 'alice', plan: 'premium' });
    const [inside, moved] = [await world.logIn('alice'), await world.logIn('alice')];
    // Its refresh token is from before, and goes with it.
    const switched = await world.post('/tenant', moved.access, { tenant: 'globex' });
    moved.access = switched.token as string;
    expect((await world.report(inside.access)).body).toMatchObject({ tenant: 'acme' });

    const root = await world.logIn('root');
    expect((await world.post('/admin/tenants/acme/shut', inside.access)).status).toBe(403);
    expect((await world.post('/admin/tenants/nowhere/shut', root.access)).status).toBe(404);
    expect((await world.post('/admin/tenants/acme/shut', root.access)).status).toBe(200);

    await expectEnded(world, inside);
    expect((await world.report(moved.access)).body).toMatchObject({ tenant: 'globex' });
    expect((await world.me(moved.access)).body).toMatchObject({ tenant: 'globex' });
    expect((await world.refresh(moved)).status).toBe(200);
    const again = await world.logIn('alice');
    expect(claimsOf(again.access)).toMatchObject({ tenant: 'globex' });
    expect((await world.post('/tenant', again.access, { tenant: 'acme' })).status).toBe(403);
  });

  it('publishes no private member, and takes no refresh token for an access token', async () => {
    const { body } = await ask('GET', `${world.issuer}/.well-known/jwks.json`);
    const [{ d, ...key }] = world.keys() as [JsonWebKey];
    expect(body.keys).toEqual([{ ...key, kid: expect.any(String), alg: 'ES256', use: 'sig' }]);
    const { refresh } = await world.logIn('bob');
    expectRefusal(await world.report(refresh), 'TOKEN_INVALID');
    expectRefusal(await world.me(refresh), 'TOKEN_INVALID');
    // The service that only verifies has no such route.
    const url = `${world.reports}/auth/refresh-token`;
    expect((await ask('POST', url)).status).toBe(404);
  });

  it('the other one goes on while the issuer is down', async () => {
    await world.pay({ username: 'bob', plan: 'premium' });
    const [one, other] = [await world.logIn('bob'), await world.logIn('bob')];
    expect((await world.report(one.access)).status).toBe(200);
    expect((await world.post('/auth/logout', other.access)).status).toBe(200);
    await issuer.stop();
    await expect(world.me(one.access)).rejects.toThrow('ECONNREFUSED');
    expect((await world.report(one.access)).status).toBe(200);
    expectRefusal(await world.report(other.access), 'TOKEN_REVOKED');
  });
});

describe('sample/02-services: one command starts it, keys are changed while it runs', () => {
  const world = new World();
  let running: ServiceProcess;

  beforeAll(async () => {
    const [ISSUER_PORT, REPORTS_PORT] = [`${await freePort()}`, `${await freePort()}`];
    const env = { ISSUER_PORT, REPORTS_PORT, JWKS_COOLDOWN: '1s' };
    running = await world.start('main.ts', /Both services are running/, env);
    world.issuer = `http://127.0.0.1:${ISSUER_PORT}`;
    world.reports = `http://127.0.0.1:${REPORTS_PORT}`;
    await world.pay({ username: 'alice', plan: 'premium' });
  }, 3 * MINUTES);

  afterAll(() => world.close(), MINUTES);

  it(
    'no request fails in any phase of a rotation',
    async () => {
      const clients = [await Client.logIn(world), await Client.logIn(world)];
      const [first] = clients as [Client];
      const oldToken = first.access;
      const oldKey = kidOf(oldToken);

      await world.rotate('generate');
      await until('the new key is published', async () => (await kids(world)).length === 2);
      const [, newKey = ''] = await kids(world);
      await everyoneGoesOn(clients);
      expect(clients.map(({ access }) => kidOf(access))).toEqual([oldKey, oldKey]);

      // An expired token of the new key tells whether it is known, and nothing else.
      const probe = expiredToken(world, oldToken, newKey);
      await until('the verifier knows the new key', async () => {
        return (await world.report(probe)).body.code === 'TOKEN_EXPIRED';
      });

      await world.rotate('promote');
      await until('the new key signs', async () => (await kids(world))[0] === newKey);
      await until('all tokens are signed with it', async () => {
        return clients.every(({ access, refresh }) => {
          return kidOf(access) === newKey && kidOf(refresh) === newKey;
        });
      });
      // What the old key has signed is still accepted.
      expect((await world.me(oldToken)).status).toBe(200);
      expect((await world.report(oldToken)).status).toBe(200);
      await everyoneGoesOn(clients);

      await world.rotate('drop');
      await until('the old key is gone', async () => (await kids(world)).length === 1);
      await everyoneGoesOn(clients);
      // The last process with the old key may still answer what it had accepted.
      await until('nobody accepts it', async () => (await world.me(oldToken)).status === 401);
      expectRefusal(await world.me(oldToken), 'TOKEN_INVALID');

      const failures = await Promise.all(clients.map((client) => client.stop()));
      expect(failures.flat()).toEqual([]);
      const starts = running.output.match(/issuer listens on/g) ?? [];
      expect(starts).toHaveLength(4);
      for (const { d } of world.keys()) secrets.add(d as string);
    },
    5 * MINUTES,
  );

  it('ends with everything it has started', async () => {
    await running.stop();
    await expect(ask('GET', `${world.issuer}/health`)).rejects.toThrow('ECONNREFUSED');
    await expect(ask('GET', `${world.reports}/health`)).rejects.toThrow('ECONNREFUSED');
  });
});

/** Uses both services without a break, as the rules for clients say. */
class Client {
  rounds = 0;
  private readonly failures: unknown[] = [];
  private isStopped = false;
  private readonly work: Promise<void>;

  private constructor(
    private readonly world: World,
    private device: Device,
  ) {
    this.work = this.run();
  }

  static async logIn(world: World): Promise<Client> {
    return new Client(world, await world.logIn('alice'));
  }

  get access(): string {
    return this.device.access;
  }

  get refresh(): string {
    return this.device.refresh;
  }

  async stop(): Promise<unknown[]> {
    this.isStopped = true;
    await this.work;
    return this.failures;
  }

  private async run(): Promise<void> {
    while (!this.isStopped) {
      await this.check('GET /me', this.world.me(this.access));
      await this.check('GET /reports', this.world.report(this.access));
      const answer = await this.check('refresh', this.world.refresh(this.device));
      if (answer?.status === 200) this.device = pairOf(answer);
      this.rounds += 1;
      // It shares two processors with the services that start.
      await pause(20);
    }
  }

  private async check(what: string, asked: Promise<Answer>): Promise<Answer | undefined> {
    try {
      const answer = await asked;
      if (answer.status !== 200) this.failures.push([what, answer.status, answer.body]);
      return answer;
    } catch (error) {
      this.failures.push([what, String(error)]);
      return undefined;
    }
  }
}

async function everyoneGoesOn(clients: readonly Client[]): Promise<void> {
  const before = clients.map(({ rounds }) => rounds);
  await until('each client has gone on', async () => {
    return clients.every(({ rounds }, index) => rounds > (before[index] ?? 0) + 2);
  });
}

async function keep(asked: Promise<Answer>): Promise<Answer> {
  const answer = await asked;
  const { token, body } = answer;
  for (const text of [token, body?.access_token, body?.refresh_token]) {
    if (typeof text === 'string') secrets.add(text);
  }
  return answer;
}

function pairOf({ status, body }: Answer): Device {
  expect(status).toBe(200);
  return { access: body.access_token, refresh: body.refresh_token };
}

function expectRefusal(answer: Answer, code: string): void {
  expect(answer).toMatchObject({
    status: 401,
    body: { code },
    challenge: expect.stringContaining('error="invalid_token"'),
  });
}

async function expectEnded(world: World, device: Device): Promise<void> {
  expectRefusal(await world.report(device.access), 'TOKEN_REVOKED');
  expectRefusal(await world.me(device.access), 'TOKEN_REVOKED');
  expect(await world.refresh(device)).toMatchObject({
    status: 400,
    body: { error: 'invalid_grant' },
  });
}

function signatureOf(
  body: string,
  { secret = WEBHOOK_SECRET, time = Math.floor(Date.now() / 1000) } = {},
): string {
  const signature = createHmac('sha256', secret).update(`${time}.${body}`).digest('hex');
  return `t=${time},v1=${signature}`;
}

async function kids({ issuer }: World): Promise<string[]> {
  const { body } = await ask('GET', `${issuer}/.well-known/jwks.json`);
  return body.keys.map(({ kid }: { kid: string }) => kid);
}

function kidOf(token: string): string {
  const [header = ''] = token.split('.');
  return JSON.parse(Buffer.from(header, 'base64url').toString()).kid;
}

function expiredToken(world: World, model: string, kid: string): string {
  const key = createPrivateKey({ key: world.keys().at(-1) as JsonWebKey, format: 'jwk' });
  const now = Math.floor(Date.now() / 1000);
  const payload = { ...claimsOf(model), iat: now - 600, exp: now - 300 };
  return forge({ header: { kid }, payload, algorithm: 'ES256', key });
}
