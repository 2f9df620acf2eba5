// A real browser: Chromium, at the width of a small phone. Its argument is the program. First it says
// on which port it receives the browser, in the place of a client.

import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { answer, send } from './protocol.mjs';

const client = createServer((_, response) => response.end('received')).listen(0, '127.0.0.1');
await once(client, 'listening');

const context = await chromium.launchPersistentContext(mkdtempSync(join(import.meta.dirname, 'profile-')), {
  executablePath: process.argv[2],
  chromiumSandbox: false,
  viewport: { width: 360, height: 640 },
  args: [
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
const page = await context.newPage();
page.setDefaultTimeout(30_000);

/** What the browser complains about, a violated content security policy among it. */
const complaints = [];
page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
page.on('pageerror', (error) => complaints.push(String(error)));

send({ port: client.address().port });
await answer({
  async open({ url, colorScheme }) {
    await page.emulateMedia({ colorScheme });
    await page.goto(url);
  },
  /** Moves the focus from element to element until it is on `name`, as a person without a mouse. */
  async focus({ name }) {
    for (let step = 0; step < 20; step += 1) {
      const found = await page.evaluate(() => {
        const element = document.activeElement;
        const outlined = getComputedStyle(element).outlineStyle !== 'none';
        return { name: element.labels?.[0]?.textContent ?? element.textContent, outlined };
      });
      if (found.name.trim().startsWith(name)) {
        if (!found.outlined) throw new Error(`nobody sees that the focus is on ${name}`);
        return;
      }
      await page.keyboard.press('Tab');
    }
    throw new Error(`the keyboard does not reach ${name}`);
  },
  type: ({ text }) => page.keyboard.type(text),
  async enter() {
    await page.keyboard.press('Enter');
    await page.waitForLoadState();
  },
  async click({ name, times }) {
    await page.getByRole('button', { name }).click({ clickCount: times ?? 1, noWaitAfter: true });
  },
  async arrive({ at }) {
    await page.waitForURL((url) => url.href.startsWith(at));
  },
  async back() {
    await page.goBack();
  },
  /** What a person, or a program that reads pages to people, finds. */
  async look() {
    const seen = await page.evaluate(() => ({
      title: document.title,
      heading: document.querySelector('h1')?.textContent,
      language: document.documentElement.lang,
      tooWide: document.documentElement.scrollWidth > innerWidth,
      unlabeled: [...document.querySelectorAll('input:not([type=hidden])')].filter((i) => !i.labels.length).length,
      background: getComputedStyle(document.body).backgroundColor,
    }));
    return { ...seen, url: page.url(), complaints };
  },
});
