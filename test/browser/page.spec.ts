import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Browser, Locator, Page } from 'playwright-core';
import { launchBrowser } from '../support/browser.js';
import { freePort, ServiceProcess } from '../support/service-process.js';

const SOON = { timeout: 10_000 };

/** The page of the sample, as somebody with eyes, a keyboard or a screen reader uses it. */
describe('The page of the sample', () => {
  let browser: Browser;
  let service: ServiceProcess;
  let url: string;
  let page: Page;
  let problems: string[];

  beforeAll(async () => {
    browser = await launchBrowser();
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    service = await ServiceProcess.start('sample/01-subscription/main.ts', /listens on/, {
      PORT: String(port),
      REISSUE_GRACE: '2s',
      REDIS_URL: '',
    });
  });
  afterAll(async () => {
    await browser.close();
    await service.stop();
  });

  beforeEach(async () => {
    await asUser('alice', '/subscription', { plan: 'free' });
    await asUser('root', '/admin/users/alice/role', { role: 'member' });
    page = await browser.newPage();
    problems = [];
    page.on('pageerror', (error) => problems.push(error.message));
    // A 401 is what some of this is about; the browser logs it as an error of its own.
    page.on('console', (message) => {
      const isAnswer = /^Failed to load resource/.test(message.text());
      if (message.type() === 'error' && !isAnswer) problems.push(message.text());
    });
    await page.goto(url);
    await page.getByRole('heading', { level: 1 }).waitFor();
  });
  afterEach(async () => {
    await page.close();
    expect(problems).toEqual([]);
  });

  /** What is so before the page is opened. */
  async function asUser(username: string, path: string, body: object): Promise<void> {
    const post = async (to: string, what: object, headers = {}) => {
      const answer = await fetch(url + to, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(what),
      });
      expect(answer.status).toBe(200);
      return (await answer.json()) as { access_token?: string };
    };
    const login = await post('/auth/login', { username, password: `${username}-password` });
    await post(path, body, { authorization: `Bearer ${login.access_token}` });
  }

  function device(name: string): Locator {
    return page.getByRole('region', { name });
  }
  const phone = () => device("Alice's phone");
  const laptop = () => device("Alice's laptop");
  const admin = () => device('Administrator');

  async function press(where: Locator, name: string): Promise<void> {
    const button = where.getByRole('button', { name, exact: true });
    await button.and(page.locator('[aria-disabled="false"]')).click(SOON);
  }

  async function logIn(...devices: Locator[]): Promise<void> {
    for (const one of devices) {
      await press(one, 'Log in');
      await shows(one, 'sub');
    }
  }

  /** Waited for: somewhere in this part of the page. */
  async function shows(where: Locator, text: string | RegExp): Promise<void> {
    await where.getByText(text).first().waitFor(SOON);
  }

  /** What the token says under this name. */
  async function claim(where: Locator, name: string, value: string): Promise<void> {
    const term = where.locator('dt', { hasText: new RegExp(`^${name}$`) });
    await term.locator('xpath=following-sibling::dd[1]').getByText(value).waitFor(SOON);
  }

  async function state(where: Locator, text: string | RegExp): Promise<void> {
    await where.locator('.state').getByText(text).waitFor(SOON);
  }

  it('shows a state change on the other device too, without a log-in', async () => {
    await logIn(phone(), laptop());
    await claim(phone(), 'plan', 'free');

    await press(phone(), 'Upgrade to premium');
    await claim(phone(), 'plan', 'premium');
    await shows(phone(), 'was free');
    await state(phone(), 'active');

    // The other device holds its old token until it is used.
    await state(laptop(), 'stale');
    await claim(laptop(), 'plan', 'free');
    await press(laptop(), 'Who am I?');
    await claim(laptop(), 'plan', 'premium');
    await state(laptop(), 'active');
    expect(
      await laptop()
        .getByRole('row', { name: /GET \/me/ })
        .count(),
    ).toBe(1);
  });

  it('lets an old token lead to the new one, and then die', async () => {
    await logIn(phone());
    await press(phone(), 'Upgrade to premium');
    await claim(phone(), 'plan', 'premium');

    await press(phone(), 'Replay the old token');
    await page.getByRole('status').getByText('leads to the new one: premium').waitFor(SOON);

    await page.waitForTimeout(2_100);
    await press(phone(), 'Replay the old token');
    await page.getByRole('status').getByText('is refused: TOKEN_SUPERSEDED').waitFor(SOON);
    await shows(phone(), '401 TOKEN_SUPERSEDED');
    // Nobody is logged out by somebody else's old token.
    await press(phone(), 'Who am I?');
    await state(phone(), 'active');
  });

  it("changes a role as the administrator, which the user's next request sees", async () => {
    await logIn(phone(), admin());
    await press(admin(), 'Make Alice an admin');
    await state(phone(), 'stale');
    await press(phone(), 'Who am I?');
    await claim(phone(), 'role', 'admin');
    await shows(phone(), 'was member');

    await press(admin(), 'Make Alice a member');
    await press(phone(), 'Who am I?');
    await claim(phone(), 'role', 'member');
  });

  it('logs out one device, or everywhere', async () => {
    await logIn(phone(), laptop());
    await press(phone(), 'Log out');
    await state(phone(), 'logged out');
    await shows(phone(), /revoked \d/);
    await press(laptop(), 'Who am I?');
    await state(laptop(), 'active');

    await logIn(phone());
    await press(phone(), 'Log out everywhere');
    await press(laptop(), 'Who am I?');
    await state(laptop(), 'logged out (TOKEN_REVOKED)');
    await logIn(laptop());
    await state(laptop(), 'active');
  });

  it('tells the lives of the tokens in words as well as in colours', async () => {
    await logIn(phone());
    await press(phone(), 'Upgrade to premium');
    await claim(phone(), 'plan', 'premium');
    const lives = phone().getByRole('listitem');
    await lives.nth(1).waitFor(SOON);
    expect(await lives.count()).toBe(2);
    const time = String.raw`\d\d:\d\d:\d\d`;
    expect(await lives.nth(0).innerText()).toMatch(new RegExp(`^…\\w{6}: issued ${time}$`));
    expect(await lives.nth(1).innerText()).toMatch(
      new RegExp(
        `^…\\w{6}: issued ${time}, stale ${time}, superseded ${time}, leads to …\\w{6} until ${time}$`,
      ),
    );
  });

  it('is used with the keyboard alone', async () => {
    await page.keyboard.press('Tab');
    await expectFocus('Log in');
    await page.keyboard.press('Enter');
    await claim(phone(), 'plan', 'free');
    // The button that was pressed has no use now, and keeps the focus.
    await expectFocus('Log in');
    while ((await focused()) !== 'Upgrade to premium') await page.keyboard.press('Tab');
    await page.keyboard.press('Space');
    await claim(phone(), 'plan', 'premium');
  });

  it('fits a phone, and leaves no control without a name', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    await logIn(phone());
    await press(phone(), 'Upgrade to premium');
    await claim(phone(), 'plan', 'premium');
    const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
    expect(await page.evaluate<number>(overflow)).toBe(0);
    for (const button of await page.getByRole('button').all()) {
      const box = await button.boundingBox();
      expect(box?.height).toBeGreaterThanOrEqual(44);
      expect((await button.innerText()).trim()).not.toBe('');
    }
  });

  it('gets nothing from elsewhere, and its tokens are in no log', async () => {
    const hosts = new Set<string>();
    page.on('request', (request) => hosts.add(new URL(request.url()).host));
    await page.reload();
    await logIn(phone());
    expect([...hosts]).toEqual([new URL(url).host]);
    expect(service.output).not.toMatch(/eyJ/);
  });

  async function focused(): Promise<string | undefined> {
    return page.evaluate<string>('document.activeElement?.textContent');
  }

  async function expectFocus(label: string): Promise<void> {
    expect(await focused()).toBe(label);
  }
});
