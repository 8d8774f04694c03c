import { afterEach, describe, expect, it } from '@jest/globals';
import { exchange } from '../support/refresh-client.js';
import { closeApps, log, PLATFORMS, type Platform, startApp } from '../support/test-app.js';

/*
 * `nest start --watch` starts the application anew at each save, with an empty deny list in memory. The boot
 * message says what to set; these are clients that were logged in before the save.
 */
describe.each(PLATFORMS)('A restart with the deny list in memory, on %s', (platform) => {
  afterEach(closeApps);

  it('ends every session, and the boot message says what to set for development', async () => {
    const { token, refresh } = await loggedIn(platform, 'reject');
    expect(log.text).toMatch(
      /kept in memory: a restart ends every session \(with `nest start --watch`, each save does\)/,
    );
    expect(log.text).toMatch(/For development set denyList\.onLoss: 'accept'/);
    expect(log.text).toMatch(/For production set denyList\.cache/);
    const app = await restarted(platform, 'reject');
    expect(await app.get('/me', token)).toMatchObject({
      status: 401,
      body: { code: 'DENY_LIST_LOST' },
    });
    expect(await exchange(app, refresh)).toMatchObject({ status: 400 });
  });

  it('ends none with that, and the boot message says what that costs', async () => {
    const { token, refresh } = await loggedIn(platform, 'accept');
    expect(log.text).toMatch(/a restart forgets every revocation.*revoked tokens work again/);
    expect(log.text).not.toContain('For development');
    const app = await restarted(platform, 'accept');
    expect(await app.get('/me', token)).toMatchObject({ status: 200 });
    expect(await exchange(app, refresh)).toMatchObject({ status: 200 });
    expect(await app.post('/logout', token)).toMatchObject({ status: 201 });
    expect(await app.get('/me', token)).toMatchObject({ status: 401 });
  });
});

const start = (platform: Platform, onLoss: 'accept' | 'reject') =>
  startApp({ platform, options: { denyList: { onLoss }, refresh: { tokens: {} } } });

async function loggedIn(platform: Platform, onLoss: 'accept' | 'reject') {
  const app = await start(platform, onLoss);
  const { accessToken, refreshToken } = await app.tokens.issue('alice');
  const token = accessToken;
  expect(await app.get('/me', token)).toMatchObject({ status: 200 });
  return { token, refresh: refreshToken as string };
}

async function restarted(platform: Platform, onLoss: 'accept' | 'reject') {
  await closeApps();
  return start(platform, onLoss);
}
