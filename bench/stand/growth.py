"""The same work with a thousand users, sessions or live limit keys, and with many: cost of a request in CPU time."""

import json
import random
import time

import seed
import subjects
from accounts import API, CHEAP, HASHING, PASSWORD, good
from load import Sequence, request
from servers import Postgres, Redis, folder

FEW = 1000
#: Different people or clients that one round asks for.
SAMPLE = 20_000


def measure(stand):
    postgres, requests = Postgres(), folder("growth")
    for engine in ("sqlite", "postgres"):
        users(stand, engine, postgres, requests)
    limit_keys(stand, requests)


def users(stand, engine, postgres, folder):
    """me, refresh and login of people picked at random, in two servers side by side: a small one and a large one."""
    worlds = []
    for count in (FEW, stand.population):
        if engine == "sqlite":
            server = subjects.stile()
            database = seed.Sqlite(f"{server.cwd}/data/stile.db")
        else:
            server = subjects.stile(DATABASE_URL=f"postgres://{postgres.database(f'growth-{count}')}")
            database = seed.Copy(postgres, f"growth-{count}")
        worlds.append((("stile, 1000" if count == FEW else "stile, many"), server, World(server, database, count, folder, engine, stand)))
    for _ in stand.rounds():
        for name in ("me", "refresh", "login"):
            for subject, server, world in worlds:
                cpu = server.cpu_seconds()
                connections = HASHING if name == "login" else CHEAP
                done = getattr(world, name).load(server.address, connections, stand.seconds)
                if done.refused > max(2, done.requests // 1000) or done.broken:
                    raise SystemExit(f"growth, {name}: {done.refused} of {done.requests} refused, {done.broken} broken")
                cpu = (server.cpu_seconds() - cpu) / max(1, done.requests) * 1e6
                more = {"rate": done.rate, "p99_us": done.p99_us, "users": world.count}
                stand.results.add(f"cpu of a request, {name}, {engine}", subject, cpu, "µs", **more)
                stand.results.add(f"rate with {stand.population:,} users, {name}, {engine}", subject, done.rate, "/s")
    for subject, server, world in worlds:
        stand.results.add(f"database a user, {engine}", subject, world.bytes_a_user, "bytes")
        server.stop()


class World:
    def __init__(self, server, database, count, folder, engine, stand):
        self.count = count
        body = json.dumps({"email": "ada@example.com", "password": PASSWORD})
        good(server.address, request("POST", f"{API}/auth/register", body), 201)
        signed_in, _ = good(server.address, request("POST", f"{API}/auth/login", body), 200)
        secret = subjects.LENIENT["JWT_SECRET"]
        issuer = seed.learn_kid(secret, signed_in["access_token"])
        password_hash = database.password_hash("ada@example.com")
        before = database.size()
        people = []
        for first in range(0, count, 100_000):
            people += seed.population(database, first, min(100_000, count - first), password_hash)
        database.settle()
        self.bytes_a_user = (database.size() - before) / count
        picked = random.choices(people, k=SAMPLE)
        posts = lambda bodies, path: [request("POST", API + path, json.dumps(body)) for body in bodies]
        name = f"{engine}-{count}"
        me = [
            request("GET", f"{API}/auth/me", headers=[f"Authorization: Bearer {seed.access_token(secret, issuer, user, session)}"])
            for _, user, session, _ in picked
        ]
        self.me = Sequence(folder, f"growth-me-{name}", me)
        self.me.count = 10**9  # May be sent twice.
        login = posts(({"email": email, "password": PASSWORD} for email, *_ in picked), "/auth/login")
        self.login = Sequence(folder, f"growth-login-{name}", login)
        # Each refresh token once: where there are few people, more sessions of theirs.
        tokens = [token for *_, token in random.sample(people, min(count, stand.many))]
        while len(tokens) < stand.many:
            more = [f"{seed.secrets.token_urlsafe(32)}.{seed.secrets.token_urlsafe(32)}" for _ in people]
            rows = (seed.session_row(user, *token.split(".")) for (_, user, _, _), token in zip(people, more))
            database.load("sessions", seed.SESSION, rows)
            tokens += more
        database.settle()
        random.shuffle(tokens)
        self.refresh = Sequence(folder, f"growth-refresh-{name}", posts(({"refresh_token": token} for token in tokens), "/auth/refresh"))
        time.sleep(0.5)


def limit_keys(stand, folder):
    """Clients behind a trusted proxy: each has its own counter."""
    redis = Redis()
    keys = stand.population
    stores = [
        ("memory", {"RATE_LIMIT_MEMORY_KEYS": str(2 * keys)}),
        ("Redis", {"REDIS_URL": redis.url, "RATE_LIMIT_MEMORY_KEYS": str(2 * keys)}),
    ]
    limit = {"RATE_LIMIT_GLOBAL": "1000000000/day"}
    client = lambda n: f"X-Forwarded-For: 10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
    asked = lambda numbers: [request("GET", f"{API}/health", headers=[client(n)]) for n in numbers]
    everybody = Sequence(folder, "everybody", asked(range(keys)))
    everybody.count = 10**9  # Some come twice at the end.
    for store, variables in stores:
        worlds = [(subject, subjects.stile(**limit, **variables, REDIS_KEY_PREFIX=f"{store}-{subject[-4:]}"), count)
                  for subject, count in (("stile, 1000", FEW), ("stile, many", keys))]
        large = worlds[1][1]
        before, redis_before = large.memory_mib(), redis.memory_mib()
        everybody.used = 0
        while everybody.used < keys:
            everybody.load(large.address, 64, 1)
        grown, redis_grown = large.memory_mib() - before, redis.memory_mib() - redis_before
        stand.results.add("memory of a live limit key", f"stile, {store}", grown * 2**20 / keys, "bytes", keys=keys)
        if store == "Redis":
            stand.results.add("memory of a live limit key", "Redis itself", redis_grown * 2**20 / keys, "bytes", keys=keys)
        sequences = []
        for subject, server, count in worlds:
            sequence = Sequence(folder, f"clients-{store}-{count}", asked(random.choices(range(count), k=SAMPLE)))
            sequence.count = 10**9
            sequences.append(sequence)
        for _ in stand.rounds():
            for (subject, server, count), sequence in zip(worlds, sequences):
                cpu = server.cpu_seconds()
                done = sequence.load(server.address, 64, stand.seconds)
                cpu = (server.cpu_seconds() - cpu) / max(1, done.requests) * 1e6
                stand.results.add(f"cpu of a request, limit keys in {store}", subject, cpu, "µs", rate=done.rate, keys=count)
        for _, server, _ in worlds:
            server.stop()
