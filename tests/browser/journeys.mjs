// Whole journeys through the pages in a real Chromium. Each is run by name from main.rs, against a stile of its own.
// A console error, an uncaught exception, a refusal by Content-Security-Policy or a fault that axe-core calls serious
// fails the journey.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { STILE_URL: base, STILE_FOLDER: folder, STILE_BIN: stile, MODULES: modules, CHROMIUM_PATH: executablePath } = process.env;
const require = createRequire(join(modules, 'journeys.js'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const PASSWORD = 'correct-horse-battery-9';
const NEW = 'another-battery-staple-7';
const faults = [];

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// A browser of its own, at an address of its own, so that journeys do not meet each other's limits.
async function visitor(client, options = {}) {
  const context = await browser.newContext({ extraHTTPHeaders: { 'X-Forwarded-For': client }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  page.on('pageerror', (error) => faults.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    // Chromium reports a page's own 401, 422 or 429 like a missing file.
    const isPage = message.text().startsWith('Failed to load resource: the server responded with a status of 4') && !message.location().url.includes('/static/');
    if (message.type() === 'error' && !isPage) faults.push(`${message.location().url}: ${message.text()}`);
  });
  return page;
}

async function check(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) faults.push(`${page.url()}: axe ${id}: ${nodes.map((node) => node.html).join(' ')}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  if (wide) faults.push(`${page.url()}: wider than ${page.viewportSize().width} px`);
}

// Sends the form and waits for the page that answers it.
async function press(page, name) {
  await Promise.all([page.waitForEvent('load'), page.getByRole('button', { name }).first().click()]);
}

async function signUp(page, email) {
  await page.goto(`${base}/sign-up`);
  await page.fill('#email', email);
  await page.fill('#password', PASSWORD);
  await press(page, 'Create account');
  assert.equal(new URL(page.url()).pathname, '/account');
}

async function signIn(page, email, password) {
  await page.goto(`${base}/sign-in`);
  await page.fill('#email', email);
  await page.fill('#password', password);
  await press(page, 'Sign in');
}

// The link of the newest mail to `to` that has one of this kind.
async function mailed(to, kind) {
  for (let tries = 0; tries < 800; tries += 1) {
    const outbox = join(folder, 'data/outbox');
    let files = [];
    try { files = readdirSync(outbox).filter((name) => name.endsWith('.eml')).sort().reverse(); } catch { /* none yet */ }
    for (const file of files) {
      const text = readFileSync(join(outbox, file), 'utf8');
      const link = text.match(new RegExp(`^http\\S*/${kind}#token=\\S+`, 'm'));
      if (text.includes(to) && link) return link[0].trim();
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`no mail with ${kind} for ${to}`);
}

const journeys = {
  async 'sign-up to deleted account'() {
    for (const [client, options] of [['203.0.113.1', { colorScheme: 'light' }], ['203.0.113.2', { colorScheme: 'dark', viewport: { width: 360, height: 740 } }]]) {
      const page = await visitor(client, options);
      const email = `ada-${client}@example.com`;
      for (const path of ['/sign-in', '/sign-up', '/forgot-password', '/reset-password', '/verify-email', '/verify-email/resend', '/check-mail', '/account/nowhere']) {
        await page.goto(base + path);
        await check(page);
      }
      await page.goto(`${base}/sign-up`);
      await page.fill('#email', email);
      await page.fill('#password', 'password');
      await press(page, 'Create account');
      await check(page);
      assert.ok(await page.locator('#password-fault').isVisible());
      assert.equal(await page.inputValue('#email'), email);
      await signUp(page, email);
      await check(page);
      await page.goto(await mailed(email, 'verify-email'));
      assert.equal(new URL(page.url()).hash, '', 'the token is out of the address');
      await press(page, 'Confirm');
      await page.getByText('Your e-mail address is confirmed.').waitFor();
      await page.goto(`${base}/account/tokens`);
      await page.fill('#name', 'export');
      await press(page, 'Create token');
      assert.match(await page.textContent('[data-copy]'), /^stile_/);
      await check(page);
      for (const path of ['/account/password', '/account/sessions', '/account/tokens', '/account/activity', '/account/delete']) {
        await page.goto(base + path);
        await check(page);
      }
      await page.fill('#password', PASSWORD);
      await press(page, 'Delete my account');
      await page.getByText('are gone').waitFor();
      await page.goto(`${base}/account`);
      assert.equal(new URL(page.url()).pathname, '/sign-in');
      await page.context().close();
    }
  },

  async 'reset by mail'() {
    const page = await visitor('203.0.113.3');
    await signUp(page, 'bob@example.com');
    const other = await visitor('203.0.113.4');
    await other.goto(`${base}/forgot-password`);
    await other.fill('#email', 'bob@example.com');
    await press(other, 'Send the link');
    const link = await mailed('bob@example.com', 'reset-password');
    await other.goto(link);
    await other.getByText('For b***@example.com.').waitFor();
    assert.equal(new URL(other.url()).hash, '');
    assert.ok(!(await other.locator('#token').isVisible()), 'nobody has to see the code');
    await check(other);
    await other.fill('#new_password', NEW);
    await press(other, 'Change password');
    await other.getByText('Your password has been changed.').waitFor();
    await signIn(other, 'bob@example.com', NEW);
    assert.equal(new URL(other.url()).pathname, '/account');
    await page.goto(`${base}/account`);
    assert.equal(new URL(page.url()).pathname, '/sign-in', 'the reset ended all sessions');
    // Used: said at once, before a password is thought up.
    await page.goto(link);
    await page.getByText('This link is not good any more').waitFor();
    assert.ok(await page.getByRole('link', { name: 'Ask for a new link' }).isVisible());
  },

  async 'a limited sign-in and its countdown'() {
    const page = await visitor('203.0.113.5');
    const wait = page.locator('[data-wait] strong');
    // On a busy machine the window may end between two tries.
    for (let n = 0; n < 40 && await wait.count() === 0; n += 1) await signIn(page, 'nobody@example.com', 'wrong');
    const seconds = Number((await wait.textContent()).match(/^(\d+) second/)[1]);
    assert.ok(seconds >= 1 && seconds <= 12, `${seconds}`);
    const button = page.getByRole('button', { name: 'Sign in' });
    assert.ok(await button.isDisabled());
    assert.equal(await page.inputValue('#email'), 'nobody@example.com');
    await check(page);
    await page.getByText('You can try again now.').first().waitFor();
    assert.ok(await button.isEnabled());
    await page.fill('#password', 'wrong');
    await press(page, 'Sign in');
    await page.getByText('do not belong together').waitFor();
  },

  async 'two browsers and sign out everywhere'() {
    const [one, other] = [await visitor('203.0.113.6'), await visitor('203.0.113.7')];
    await signUp(one, 'eve@example.com');
    await signIn(other, 'eve@example.com', PASSWORD);
    await one.goto(`${base}/account/sessions`);
    assert.equal(await one.locator('.rows > li').count(), 2);
    await press(one, 'Sign out everywhere else');
    assert.equal(await one.locator('.rows > li').count(), 1);
    await other.goto(`${base}/account`);
    assert.equal(new URL(other.url()).pathname, '/sign-in');
    await press(one, 'Sign out');
    await one.getByText('You are signed out.').waitFor();
  },

  async 'the operator'() {
    const page = await visitor('203.0.113.8');
    await signUp(page, 'root@example.com');
    execFileSync(stile, ['user', 'set-role', 'root@example.com', 'admin'], { cwd: folder, env: { PATH: process.env.PATH } });
    const other = await visitor('203.0.113.9');
    for (let n = 0; n < 4; n += 1) await signIn(other, 'nobody@example.com', 'wrong');
    await page.goto(`${base}/admin/limits`);
    await check(page);
    await page.goto(`${base}/admin/users?query=root`);
    await check(page);
    await Promise.all([page.waitForEvent('load'), page.getByRole('link', { name: 'root@example.com' }).click()]);
    await check(page);
    await press(page, 'Make a password link');
    assert.match(await page.textContent('[data-copy]'), /#token=/);
    await press(page, 'Clear limits');
    await page.getByText('Cleared:').waitFor();
    await check(page);
    await page.goto(`${base}/admin/limiter`);
    await page.locator('[data-rule=global] .spark .allowed').first().waitFor();
    await page.getByText('· a bar is 5 s').waitFor();
    assert.match(await page.textContent('[data-processes]'), /^process [0-9a-f]{4}$/);
    await check(page);
    await page.setViewportSize({ width: 360, height: 740 });
    for (const path of ['/admin/limiter', '/admin/audit', '/admin/limits', '/admin/users']) {
      await page.goto(base + path);
      await check(page);
    }
    // The chart asks like anybody, and waits like anybody. On a busy machine the window may end between two of its questions.
    await page.goto(`${base}/admin/limiter`);
    const paused = page.getByText('paused:');
    const ask = () => fetch(`${base}/api/v1/health`, { headers: { 'X-Forwarded-For': '203.0.113.8' } }).then((answer) => answer.arrayBuffer());
    for (let n = 0; n < 10 && await paused.count() === 0; n += 1) {
      for (let many = 0; many < 6; many += 1) await Promise.all(Array.from({ length: 50 }, ask));
      await paused.waitFor({ timeout: 6000 }).catch(() => {});
    }
    assert.equal(await paused.count(), 1);
  },

  async 'without script'() {
    const page = await visitor('203.0.113.10', { javaScriptEnabled: false });
    await signUp(page, 'max@example.com');
    await press(page, 'Sign out');
    await page.goto(`${base}/forgot-password`);
    await page.fill('#email', 'max@example.com');
    await press(page, 'Send the link');
    const link = await mailed('max@example.com', 'reset-password');
    await page.goto(link);
    await page.fill('#token', link.split('#token=')[1]);
    await page.fill('#new_password', NEW);
    await press(page, 'Change password');
    await signIn(page, 'max@example.com', NEW);
    assert.equal(new URL(page.url()).pathname, '/account');
  },
};

try {
  const name = process.argv[2];
  await journeys[name]();
  assert.deepEqual(faults, []);
  console.log(`done: ${name}`);
} finally {
  await browser.close();
}
