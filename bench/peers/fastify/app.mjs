// Fastify + @fastify/rate-limit + Redis: one limited endpoint that passes, one that refuses. A process for each core.
import cluster from 'node:cluster';
import { cpus } from 'node:os';
import rateLimit from '@fastify/rate-limit';
import Fastify from 'fastify';
import Redis from 'ioredis';

const workers = Number(process.env.WORKERS ?? cpus().length);
if (cluster.isPrimary && workers > 1) {
  for (let worker = 0; worker < workers; worker += 1) cluster.fork();
} else {
  const app = Fastify();
  const redis = new Redis(process.env.REDIS_URL);
  await app.register(rateLimit, { global: false, redis, nameSpace: 'fastify:' });
  const answer = async () => ({ status: 'healthy', service: 'fastify' });
  app.get('/health', answer);
  app.get('/limited', { config: { rateLimit: { max: 1_000_000_000, timeWindow: '1 minute' } } }, answer);
  app.get('/refused', { config: { rateLimit: { max: 1, timeWindow: '1 day' } } }, answer);
  await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
}
