// better-auth on node's own HTTP server: sign-up, sign-in, session, with stile's argon2id parameters; its limits are off.
// DATABASE is `sqlite:PATH` or a postgres:// URL. A process for each core.
import cluster from 'node:cluster';
import { createServer } from 'node:http';
import { cpus } from 'node:os';
import { hash, verify } from '@node-rs/argon2';
import { betterAuth } from 'better-auth';
import { getMigrations } from 'better-auth/db/migration';
import { toNodeHandler } from 'better-auth/node';
import Sqlite from 'better-sqlite3';
import pg from 'pg';

const { DATABASE, PORT } = process.env;
const workers = Number(process.env.WORKERS ?? cpus().length);
const argon2id = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

function database() {
  if (!DATABASE.startsWith('sqlite:')) return new pg.Pool({ connectionString: DATABASE, max: 5 });
  const sqlite = new Sqlite(DATABASE.slice('sqlite:'.length));
  for (const pragma of ['busy_timeout = 5000', 'journal_mode = WAL', 'synchronous = FULL']) sqlite.pragma(pragma);
  return sqlite;
}

const auth = betterAuth({
  baseURL: `http://127.0.0.1:${PORT}`,
  secret: 'only for the bench, thirty-two bytes or more',
  database: database(),
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  emailAndPassword: {
    enabled: true,
    password: { hash: (password) => hash(password, argon2id), verify: ({ hash: stored, password }) => verify(stored, password) },
  },
});

if (cluster.isPrimary) {
  await (await getMigrations(auth.options)).runMigrations();
}
if (cluster.isPrimary && workers > 1) {
  for (let worker = 0; worker < workers; worker += 1) cluster.fork();
} else {
  const handler = toNodeHandler(auth);
  const server = createServer((request, response) => {
    if (request.url === '/health') response.end('{"status":"healthy"}');
    else handler(request, response);
  });
  server.listen(Number(PORT), '127.0.0.1');
}
