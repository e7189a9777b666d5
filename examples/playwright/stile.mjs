// What the suite wants of stile. Copy this file into your own suite.
import { test as base, expect } from '@playwright/test';

const api = `${process.env.STILE_URL ?? 'http://localhost:8000'}/api/v1`;
const key = process.env.TEST_ENDPOINTS_KEY;
const headers = key ? { 'X-Test-Key': key } : {};

/** Empties stile: accounts, mails, counters. Between runs only. */
export async function reset() {
  const answer = await fetch(`${api}/test/reset`, { method: 'POST', headers });
  if (answer.status !== 204) {
    throw new Error(`POST ${api}/test/reset: ${answer.status} (stile needs ENABLE_TEST_ENDPOINTS=true)`);
  }
}

/** The newest mail to an address. stile waits for one that is on its way, so there is no need to poll. */
export async function mail(address) {
  const answer = await fetch(`${api}/test/outbox?to=${encodeURIComponent(address)}`, { headers });
  expect(answer.status).toBe(200);
  const [newest] = await answer.json();
  expect(newest, `a mail to ${address}`).toBeTruthy();
  return newest;
}

/** The limits in force: `{"enabled":true,"rules":[{"name":"login","limit":"5/minute",…}]}`. */
export async function limits() {
  return (await fetch(`${api}/rate-limits`)).json();
}

let made = 0;

export const test = base.extend({
  // Every worker counts for himself: all requests of his pages and of `request` carry his name.
  extraHTTPHeaders: async ({}, use, info) => {
    await use({ ...headers, 'X-Test-Client': `worker-${info.parallelIndex}` });
  },
  // An address that no other test uses: limits per account stay, whatever the worker.
  email: async ({}, use, info) => {
    made += 1;
    await use(`user-${info.workerIndex}-${made}@example.com`);
  },
});
export { expect };
