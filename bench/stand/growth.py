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
    """me, refresh and login of people picked at random: in short turns at two servers side by side, a small one and a large one."""
    worlds = []
    for count in (FEW, stand.population):
        if engine == "sqlite":
            server = subjects.stile()
            database = seed.Sqlite(f"{server.cwd}/data/stile.db")
        else:
            server = subjects.stile(DATABASE_URL=f"postgres://{postgres.database(f'growth-{count}')}")
            database = seed.Copy(postgres, f"growth-{count}")
        worlds.append((("stile, 1000" if count == FEW else "stile, many"), server, World(server, database, count, folder, engine, stand)))
    for _, server, world in worlds:
        # Each token's signature is verified once.
        world.me.load(server.address, CHEAP, 1)
    for pair in pairs(stand, worlds):
        for name in ("me", "refresh", "login"):
            if all(getattr(world, name).lasts() for *_, world in pair):
                for subject, server, world in pair:
                    # Of what hashes there are few in a short turn.
                    connections, seconds = (HASHING, 1) if name == "login" else (CHEAP, stand.turn_seconds)
                    done = take_turn(stand, f"{name}, {engine}", subject, server, getattr(world, name), connections, seconds)
                    stand.results.add(f"rate with {stand.population:,} users, {name}, {engine}", subject, done.rate, "/s")
    for subject, server, world in worlds:
        stand.results.add(f"database a user, {engine}", subject, world.bytes_a_user, "bytes")
        server.stop()


def pairs(stand, worlds):
    """The two in turn, many times: a host that changes its speed in the midst of a pair favours each of them as often."""
    for turn in range(stand.turns):
        yield worlds if turn % 2 == 0 else worlds[::-1]


def take_turn(stand, measure, subject, server, asked, connections, seconds):
    """A short one, so that its pair meets the same host."""
    cpu = server.cpu_seconds()
    done = asked.load(server.address, connections, seconds, watched=server.child.pid)
    if done.refused > max(2, done.requests // 1000) or done.broken:
        raise SystemExit(f"growth, {measure}: {done.refused} of {done.requests} refused, {done.broken} broken")
    each = lambda whole: whole / max(1, done.requests)
    cpu = each(server.cpu_seconds() - cpu) * 1e6
    stand.results.add(f"cpu of a request, {measure}", subject, cpu, "µs", rate=done.rate, p99_us=done.p99_us)
    if done.instructions:
        stand.results.add(f"instructions of a request, {measure}", subject, each(done.instructions) / 1000, "k")
    return done


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
        for pair in pairs(stand, list(zip(worlds, sequences))):
            for (subject, server, _), sequence in pair:
                take_turn(stand, f"limit keys in {store}", subject, server, sequence, 64, stand.turn_seconds)
        for _, server, _ in worlds:
            server.stop()
