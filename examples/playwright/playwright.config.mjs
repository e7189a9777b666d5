import { defineConfig } from '@playwright/test';

const product = process.env.PRODUCT_URL ?? 'http://localhost:3000';
const isRoot = process.getuid?.() === 0;

export default defineConfig({
  testDir: 'tests',
  globalSetup: './global-setup.mjs',
  fullyParallel: true,
  workers: 3,
  reporter: 'list',
  use: {
    baseURL: product,
    launchOptions: {
      // Playwright's own browser (`npx playwright install chromium`), or the one that CHROMIUM_PATH names.
      executablePath: process.env.CHROMIUM_PATH || undefined,
      args: ['--disable-background-networking', '--disable-component-update', ...(isRoot ? ['--no-sandbox'] : [])],
    },
  },
  webServer: {
    command: 'node product/server.mjs',
    url: product,
    env: { PORT: new URL(product).port, STILE_URL: process.env.STILE_URL ?? 'http://localhost:8000' },
  },
});
