import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, ForbiddenException, Post, UseGuards } from '@nestjs/common';
import {
  CurrentToken,
  JwtStateGuard,
  type JwtStateOptions,
  ReissuesToken,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { expectNewToken, expectNoNewToken, expectRefusal } from '../support/expectations.js';
import { claimsOf, clock, closeApps, MATRIX, startApp, type TestApp } from '../support/test-app.js';
import { TestStore } from '../support/test-store.js';
import { Users } from '../support/users.js';

@Controller()
@UseGuards(JwtStateGuard)
class TenantController {
  constructor(
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Post('tenant')
  @ReissuesToken({ scope: 'session' })
  async switchTenant(@CurrentToken() token: VerifiedToken, @Body() { tenant }: { tenant: string }) {
    if (tenant === 'forbidden') throw new ForbiddenException();
    await this.tokens.reissue(token, { tenant });
    return { tenant };
  }

  /** A change of the user's own state: every device follows. */
  @Post('join')
  @ReissuesToken()
  join(@CurrentToken('sub') sub: string, @Body() { teams }: { teams: string[] }) {
    this.users.set(sub, { teams });
  }
}

describe.each(MATRIX)('Scopes beyond the subject: %s, deny list in %s', (platform, kind) => {
  let store: TestStore;
  let app: TestApp;
  const start = (options: Partial<JwtStateOptions> = {}) =>
    startApp({
      platform,
      store,
      controllers: [TenantController],
      options: { denyList: { claims: ['tenant', 'teams'] }, ...options },
    });
  const member = (user: string, tenant: unknown) => app.logIn(user, { tenant });

  beforeEach(async () => {
    store = TestStore.create(kind);
    app = await start();
  });
  afterEach(closeApps);

  /** How often the store is written to from now on. */
  function countWrites(): { count: number } {
    const written = { count: 0 };
    const never = /$^/;
    never.test = () => {
      written.count += 1;
      return false;
    };
    store.fail('write', never);
    return written;
  }

  describe('revoke({ tenant })', () => {
    it('ends all its members at once, and nobody else', async () => {
      const members = [await member('alice', 'acme'), await member('bob', 'acme')];
      const others = [await member('alice', 'globex'), await app.logIn('bob')];
      await app.tokens.revoke({ tenant: 'acme' });
      for (const token of members) {
        expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
        expectRefusal(await app.post('/auth/refresh-token', token), 'TOKEN_REVOKED');
      }
      for (const token of others) expectNoNewToken(await app.get('/me', token));
    });

    it('is one write, however many they are', async () => {
      for (let time = 0; time < 5; time++) await member('alice', 'acme');
      const written = countWrites();
      await app.tokens.revoke({ tenant: 'acme' });
      expect(written.count).toBe(1);
    });

    it('ends what its members’ tokens lead to as well', async () => {
      const token = await member('alice', 'acme');
      await app.change('alice', { plan: 'premium' });
      const successor = expectNewToken(await app.get('/me', token), { tenant: 'acme' });
      await app.tokens.revoke({ tenant: 'acme' });
      for (const each of [token, successor]) {
        expectRefusal(await app.get('/me', each), 'TOKEN_REVOKED');
      }
    });

    it('lets in who logs in afterwards', async () => {
      await app.tokens.revoke({ tenant: 'acme' });
      const token = await member('alice', 'acme');
      expectNoNewToken(await app.get('/me', token), { tenant: 'acme' });
      await app.tokens.revoke({ tenant: 'acme' });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });

    it('lets in who logs in afterwards by begin(), if the tenant is named there', async () => {
      await app.tokens.revoke({ tenant: 'acme' });
      const login = await app.tokens.begin('alice', { tenant: 'acme' });
      const { accessToken } = await app.tokens.issue(login, { tenant: 'acme' });
      expectNoNewToken(await app.get('/me', accessToken), { tenant: 'acme' });
      const unnamed = await app.tokens.begin('alice');
      const refusal = { code: 'CLAIMS_INVALID' };
      await expect(app.tokens.issue(unnamed, { tenant: 'acme' })).rejects.toMatchObject(refusal);
    });

    it('and a log-in that has begun before it are no match: the session is ended', async () => {
      const login = await app.tokens.begin('alice', { tenant: 'acme' });
      await app.tokens.revoke({ tenant: 'acme' });
      const { accessToken } = await app.tokens.issue(login, { tenant: 'acme' });
      expectRefusal(await app.get('/me', accessToken), 'TOKEN_REVOKED');
    });

    it('goes by the value and not by its looks', async () => {
      const number = await member('alice', 7);
      const others = [
        await member('alice', 'ACME'),
        await member('alice', 'acme '),
        await member('alice', 'acme:x'),
        await app.logIn('alice', { teams: ['acme'] }),
        await app.logIn('alice', { plan: 'acme' }),
      ];
      await app.tokens.revoke({ tenant: 'acme' });
      for (const token of others) expectNoNewToken(await app.get('/me', token));
      await app.tokens.revoke({ tenant: '7' });
      expectRefusal(await app.get('/me', number), 'TOKEN_REVOKED');
    });

    it('is not confused with the subject or session of that name', async () => {
      app.users.set('acme', { plan: 'free' });
      const [subject, acme] = [await app.logIn('acme'), await member('bob', 'acme')];
      await app.tokens.revoke({ tenant: 'acme' });
      expectNoNewToken(await app.get('/me', subject));
      await app.tokens.revoke({ tenant: claimsOf(subject).sid });
      expectNoNewToken(await app.get('/me', subject));
      expectRefusal(await app.get('/me', acme), 'TOKEN_REVOKED');
    });

    it('is heard of in every service on the store that lists the claim', async () => {
      const other = await start();
      const token = await member('alice', 'acme');
      await other.tokens.revoke({ tenant: 'acme' });
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });
  });

  describe('a list of values', () => {
    it('is in every one of them', async () => {
      const both = await member('alice', ['acme', 'globex']);
      const one = await member('bob', ['globex']);
      await app.tokens.markStale({ tenant: 'globex' });
      const next = expectNewToken(await app.get('/me', both), { tenant: ['acme', 'globex'] });
      await app.tokens.revoke({ tenant: 'acme' });
      for (const token of [both, next]) {
        expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
      }
      expectNewToken(await app.get('/me', one), { tenant: ['globex'] });
    });

    it('may be empty', async () => {
      const nobody = await member('alice', []);
      await app.tokens.revoke({ tenant: 'acme' });
      expectNoNewToken(await app.get('/me', nobody), { tenant: [] });
    });

    it.each([[{ id: 1 }], [[{}]], [['']], [true]])(
      'or value that is no id is no tenant: %j',
      async (tenant) => {
        await expect(member('alice', tenant)).rejects.toMatchObject({ code: 'CLAIMS_INVALID' });
      },
    );
  });

  it('a request costs one look-up still', async () => {
    const token = await member('alice', ['acme', 'globex', 'initech']);
    expectNoNewToken(await app.get('/me', token));
    store.lookups = 0;
    expectNoNewToken(await app.get('/me', token));
    // Memory answers key by key; in Redis it is one command.
    if (kind === 'Redis') expect(store.lookups).toBe(1);
  });

  describe('markStale({ tenant })', () => {
    it('makes all its members read the truth, and nobody else', async () => {
      const members = [await member('alice', 'acme'), await member('bob', 'acme')];
      const others = [await member('alice', 'globex'), await app.logIn('bob')];
      for (const user of ['alice', 'bob']) app.users.set(user, { plan: 'team' });
      const written = countWrites();
      await app.tokens.markStale({ tenant: 'acme' });
      expect(written.count).toBe(1);
      for (const token of members) {
        const next = expectNewToken(await app.get('/me', token), { plan: 'team', tenant: 'acme' });
        expectNoNewToken(await app.get('/me', next), { plan: 'team' });
      }
      for (const token of others) expectNoNewToken(await app.get('/me', token), { plan: 'free' });
    });

    it('is a target like any other: one claim, which is listed', async () => {
      const refusal = { code: 'INVALID_TARGET' };
      for (const target of [{ tenant: '' }, { role: 'member' }, { tenant: 'acme', sub: 'alice' }]) {
        await expect(app.tokens.markStale(target as never)).rejects.toMatchObject(refusal);
        await expect(app.tokens.revoke(target as never)).rejects.toMatchObject(refusal);
      }
    });
  });

  describe('a value acquired by a reissue', () => {
    const enter = async (token: string, tenant: string) =>
      expectNewToken(await app.post('/tenant', token, { tenant }), { tenant });

    it('through an explicit change is covered from then on', async () => {
      const token = await enter(await app.logIn('alice'), 'acme');
      await app.tokens.markStale({ tenant: 'acme' });
      const next = expectNewToken(await app.get('/me', token), { tenant: 'acme' });
      await app.tokens.revoke({ tenant: 'acme' });
      expectRefusal(await app.get('/me', next), 'TOKEN_REVOKED');
    });

    it('through the claims source is covered from then on', async () => {
      const token = await app.logIn('alice');
      await app.change('alice', { teams: ['red', 'blue'] });
      const next = expectNewToken(await app.get('/me', token), { teams: ['red', 'blue'] });
      expectNoNewToken(await app.get('/me', next));
      await app.tokens.revoke({ teams: 'blue' });
      expectRefusal(await app.get('/me', next), 'TOKEN_REVOKED');
    });

    it('through a handler that changes the user is covered from then on', async () => {
      const token = await app.logIn('alice');
      const next = expectNewToken(await app.post('/join', token, { teams: ['red'] }), {
        teams: ['red'],
      });
      expectNoNewToken(await app.get('/me', next));
      await app.tokens.revoke({ teams: 'red' });
      expectRefusal(await app.get('/me', next), 'TOKEN_REVOKED');
    });

    it('through the refresh route is covered from then on', async () => {
      const token = await app.logIn('alice');
      app.users.set('alice', { teams: ['red'] });
      const { access_token } = (await app.post('/auth/refresh-token', token)).body;
      expectNoNewToken(await app.get('/me', access_token), { teams: ['red'] });
      await app.tokens.revoke({ teams: 'red' });
      expectRefusal(await app.get('/me', access_token), 'TOKEN_REVOKED');
    });

    it('is not held against the session for what was revoked before it came', async () => {
      const token = await app.logIn('alice');
      await app.tokens.revoke({ tenant: 'acme' });
      const entered = await enter(token, 'acme');
      expectNoNewToken(await app.get('/me', entered), { tenant: 'acme' });
      // And stays so, through every reissue that follows.
      await app.change('alice', { plan: 'premium' });
      const next = expectNewToken(await app.get('/me', entered), { plan: 'premium' });
      expectNoNewToken(await app.get('/me', next), { tenant: 'acme' });
    });

    it('ends the session at once where it was revoked while the claims were read', async () => {
      const token = await app.logIn('alice');
      await app.change('alice', { teams: ['red'] });
      const first = app.users.hold();
      const request = app.get('/me', token);
      await first.asked();
      // The answer names a scope whose marks were not read: they are, and the source is asked again.
      first.release();
      const second = app.users.hold();
      await second.asked();
      await app.tokens.revoke({ teams: 'red' });
      second.release();
      expectRefusal(await request, 'TOKEN_REVOKED');
      expectRefusal(await app.get('/me', token), 'TOKEN_REVOKED');
    });
  });

  describe('a tenant switch', () => {
    it('is kept by the session through every reissue, and by no other session', async () => {
      const [here, elsewhere] = [await member('alice', 'acme'), await member('alice', 'acme')];
      const reply = await app.post('/tenant', here, { tenant: 'globex' });
      expect(reply.body).toEqual({ tenant: 'globex' });
      let token = expectNewToken(reply, { tenant: 'globex', plan: 'free' });
      // The other devices were not even made stale.
      expectNoNewToken(await app.get('/me', elsewhere), { tenant: 'acme' });
      await app.change('alice', { plan: 'premium' });
      const claims = { tenant: 'globex', plan: 'premium' };
      token = expectNewToken(await app.get('/me', token), claims);
      token = (await app.post('/auth/refresh-token', token)).body.access_token;
      expectNoNewToken(await app.get('/me', token), claims);
      expectNewToken(await app.get('/me', elsewhere), { tenant: 'acme', plan: 'premium' });
    });

    it('takes the session out of the tenant it has left', async () => {
      const token = await member('alice', 'acme');
      const moved = expectNewToken(await app.post('/tenant', token, { tenant: 'globex' }), {});
      await app.tokens.revoke({ tenant: 'acme' });
      expectNoNewToken(await app.get('/me', moved), { tenant: 'globex' });
      await app.tokens.revoke({ tenant: 'globex' });
      expectRefusal(await app.get('/me', moved), 'TOKEN_REVOKED');
    });

    it('leaves the session where it was when the handler refuses it', async () => {
      const token = await member('alice', 'acme');
      const refused = await app.post('/tenant', token, { tenant: 'forbidden' });
      expect(refused).toMatchObject({ status: 403, token: undefined });
      expectNewToken(await app.get('/me', token), { tenant: 'acme' });
    });

    it('is seen by the old token in its grace period, and by nobody with it afterwards', async () => {
      const token = await member('alice', 'acme');
      const moved = expectNewToken(await app.post('/tenant', token, { tenant: 'globex' }), {});
      expectNewToken(await app.get('/me', token), { tenant: 'globex', jti: claimsOf(moved).jti });
      clock.advance('31s');
      expectRefusal(await app.get('/me', token), 'TOKEN_SUPERSEDED');
      expectNoNewToken(await app.get('/me', moved));
    });

    it('out of a tenant that has been revoked comes too late', async () => {
      const token = await member('alice', 'acme');
      await app.tokens.revoke({ tenant: 'acme' });
      expectRefusal(await app.post('/tenant', token, { tenant: 'globex' }), 'TOKEN_REVOKED');
    });

    it('works without a claims source, too', async () => {
      const other = await start({ claims: undefined });
      const token = await other.logIn('alice', { tenant: 'acme', plan: 'free' });
      const moved = expectNewToken(await other.post('/tenant', token, { tenant: 'globex' }), {
        tenant: 'globex',
        plan: 'free',
      });
      await other.tokens.revoke({ tenant: 'acme' });
      expectNoNewToken(await other.get('/me', moved));
    });
  });
});
