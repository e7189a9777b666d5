// Express + express-rate-limit + rate-limit-redis: one limited endpoint that passes, one that refuses. A process for each core.
import cluster from 'node:cluster';
import { cpus } from 'node:os';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import Redis from 'ioredis';
import { RedisStore } from 'rate-limit-redis';

const workers = Number(process.env.WORKERS ?? cpus().length);
if (cluster.isPrimary && workers > 1) {
  for (let worker = 0; worker < workers; worker += 1) cluster.fork();
} else {
  const app = express();
  const redis = new Redis(process.env.REDIS_URL);
  const limited = (limit, windowMs, prefix) =>
    rateLimit({
      limit,
      windowMs,
      standardHeaders: 'draft-8',
      legacyHeaders: true,
      store: new RedisStore({ prefix, sendCommand: (command, ...words) => redis.call(command, ...words) }),
    });
  const answer = (request, response) => response.json({ status: 'healthy', service: 'express' });
  app.get('/health', answer);
  app.get('/limited', limited(1_000_000_000, 60_000, 'express:pass:'), answer);
  app.get('/refused', limited(1, 86_400_000, 'express:refuse:'), answer);
  app.listen(Number(process.env.PORT), '127.0.0.1');
}
