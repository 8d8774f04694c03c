import { existsSync } from 'node:fs';
import { CHROMIUM } from './browser.ts';

/** Says what is missing before a hundred tests fail for it. */
export default async function findBrowser(): Promise<void> {
  if (existsSync(CHROMIUM)) return;
  throw new Error(
    `There is no ${CHROMIUM}. The browser tests need Chromium: \`npm run test:setup\` installs it ` +
      'where apt-get is, else set CHROMIUM_PATH.',
  );
}
