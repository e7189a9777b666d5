// What npm's rate-limit-redis manages over ioredis: node bench.mjs PORT IN_FLIGHT TOTAL prints checks per second.
import Redis from 'ioredis';
import { RedisStore } from 'rate-limit-redis';

const [port, inFlight, total] = process.argv.slice(2).map(Number);
const redis = new Redis(port, '127.0.0.1');
const store = new RedisStore({ prefix: 'npm:', sendCommand: (command, ...args) => redis.call(command, ...args) });
await store.init({ windowMs: 86_400_000 });

async function ask(checks, task) {
  for (let turn = 0; turn < checks; turn += 1) {
    await store.increment(`10.0.0.${(task * 7919 + turn) % 10_000}`);
  }
}

const round = (checks) => Promise.all(Array.from({ length: inFlight }, (_, task) => ask(checks, task)));
// The compiler of node wants to see the code first.
await round(Math.ceil(20_000 / inFlight));
const checks = Math.ceil(total / inFlight);
const began = process.hrtime.bigint();
await round(checks);
console.log((checks * inFlight) / (Number(process.hrtime.bigint() - began) / 1e9));
redis.disconnect();
