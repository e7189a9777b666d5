import { expect, limits, test } from '../stile.mjs';

const COUNT = /^(\d+)\/minute$/;

// Three times, in as many workers at once: each has the whole limit, because each is a client of his own.
for (const time of ['first', 'second', 'third']) {
  test(`tells who tries too often to wait, the ${time} time`, async ({ page, email, request }, info) => {
    const { enabled, rules } = await limits();
    test.skip(!enabled, 'stile runs with ENABLE_RATE_LIMITING=false');
    const limit = Number(COUNT.exec(rules.find(({ name }) => name === 'login').limit)?.[1]);
    // A budget that no other test has touched: a client for this test alone.
    await page.setExtraHTTPHeaders({ 'X-Test-Client': `${info.testId}-${info.retry}` });
    await page.goto('/log-in');
    for (let n = 1; n <= limit + 1; n += 1) {
      await page.getByLabel('E-mail').fill(email);
      await page.getByLabel('Password').fill('wrong');
      const answered = page.waitForResponse((response) => response.url().endsWith('/auth/login') && response.request().method() === 'POST');
      await page.getByRole('button').click();
      expect((await answered).status()).toBe(n <= limit ? 401 : 429);
    }
    await expect(page.getByRole('status')).toContainText('Too many tries. Please wait');
  });
}
