"""Register, log in, refresh, me, session check, gateway check: on SQLite and on PostgreSQL, beside peers that do the same."""

import json
import os
import random
import resource
import subprocess
import tempfile
from urllib.parse import urlencode

import seed
import subjects
from load import Sequence, ask, request, wrk
from servers import Postgres, folder

PASSWORD = "correct-horse-battery-9"
API = "/api/v1"
#: Busy cores, and no queue that would be refused.
HASHING = 2 * os.cpu_count()
CHEAP = 16


def measure(stand):
    postgres, requests = Postgres(), folder("requests")
    for engine in ("sqlite", "postgres"):
        makers = [Stile] + ([FastapiUsers, BetterAuth] if stand.peers else [])
        peers = [maker(engine, postgres, requests, stand) for maker in makers]
        for _ in stand.rounds():
            measure_round(stand, engine, peers)
        for peer in peers:
            peer.server.stop()


def measure_round(stand, engine, peers):
    for peer in peers:
        note(stand, f"register, {engine}", peer, peer.register, HASHING)
    raw_argon2id(stand, f"login, {engine}")
    for peer in peers:
        note(stand, f"login, {engine}", peer, peer.login, HASHING)
    for name in ("refresh", "me", "session check", "gateway check"):
        for peer in peers:
            if name in peer.cheap:
                note(stand, f"{name}, {engine}", peer, peer.cheap[name], CHEAP)


def note(stand, measure, peer, asked, connections):
    """One round of `asked`: a sequence, or a path and a header."""
    cpu = peer.server.cpu_seconds()
    if isinstance(asked, Sequence):
        done = asked.load(peer.server.address, connections, stand.seconds)
    else:
        path, header = asked
        done = wrk(peer.server.address, path, connections, stand.seconds, [header])
    cpu = peer.server.cpu_seconds() - cpu
    if done.refused > max(2, done.requests // 1000) or done.broken:
        failed = f"{measure}: {peer.name}: {done.refused} of {done.requests} refused, {done.broken} broken"
        if isinstance(peer, Stile):
            raise SystemExit(failed)
        print(f"  not counted: {failed}", flush=True)
        return
    stand.results.add(
        measure, peer.name, done.rate, "/s", p50_us=done.p50_us, p99_us=done.p99_us,
        cpu_us=cpu / max(1, done.requests) * 1e6,
    )


def raw_argon2id(stand, measure):
    """Hashes per second on all cores, with buffers that are kept. On a busy machine compare its CPU time, not its rate."""
    # In a session of its own like every server: Linux shares cores out among sessions first (sched_autogroup).
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [subjects.BARE, "argon2id", str(stand.seconds)], capture_output=True, text=True, check=True, start_new_session=True,
    )
    rate = float(done.stdout.split()[-1])
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    stand.results.add(measure, "raw argon2id", rate, "/s", cpu_us=cpu / (rate * stand.seconds) * 1e6)


def new_addresses(count):
    run = random.randrange(1 << 40)
    return [f"user{n}.{run:x}@example.com" for n in range(count)]


def good(address, asked, *statuses):
    status, body, fields = ask(address, asked)
    if status not in statuses:
        raise SystemExit(f"{asked.split(b' HTTP')[0]} answered {status}: {body[:300]}")
    return (json.loads(body) if body else None), fields


class Stile:
    name = "stile"

    def __init__(self, engine, postgres, folder, stand):
        if engine == "sqlite":
            self.server = subjects.stile()
            self.database = seed.Sqlite(f"{self.server.cwd}/data/stile.db")
        else:
            database = postgres.database("stile")
            self.server = subjects.stile(DATABASE_URL=f"postgres://{database}")
            self.database = seed.Copy(postgres, "stile")
        address = self.server.address
        email = new_addresses(1)[0]
        body = lambda email: json.dumps({"email": email, "password": PASSWORD})
        posts = lambda bodies, path: [request("POST", API + path, body) for body in bodies]
        good(address, posts([body(email)], "/auth/register")[0], 201)
        signed_in, _ = good(address, posts([body(email)], "/auth/login")[0], 200)
        bearer = f"Authorization: Bearer {signed_in['access_token']}"
        made = request("POST", f"{API}/api-tokens", json.dumps({"name": "bench", "scopes": ["read:things"]}), [bearer])
        api_token = f"Authorization: Bearer {good(address, made, 201)[0]['token']}"
        self.register = Sequence(folder, f"stile-register-{engine}", posts(map(body, new_addresses(stand.few)), "/auth/register"))
        self.login = Sequence(folder, f"stile-login-{engine}", posts([body(email)] * stand.few, "/auth/login"))
        tokens = seed.sessions(self.database, signed_in["user"]["id"], stand.many)
        refresh = posts((json.dumps({"refresh_token": token}) for token in tokens), "/auth/refresh")
        self.cheap = {
            "refresh": Sequence(folder, f"stile-refresh-{engine}", refresh),
            "me": (f"{API}/auth/me", bearer),
            "session check": (f"{API}/api-gateway/session", bearer),
            "gateway check": (f"{API}/api-gateway/verify?scope=read:things", api_token),
        }


class FastapiUsers:
    name = "fastapi-users"

    def __init__(self, engine, postgres, folder, stand):
        if engine == "sqlite":
            self.folder = tempfile.mkdtemp(dir=folder)
            file = f"{self.folder}/users.db"
            url = f"sqlite+aiosqlite:///{file}"
            self.database = seed.Sqlite(file)
        else:
            url = f"postgresql+asyncpg://{postgres.database('fastapi-users')}"
            self.database = seed.Copy(postgres, "fastapi-users")
        self.server = subjects.python(self.name, "users_app", DATABASE_URL=url)
        address = self.server.address
        email = new_addresses(1)[0]
        body = lambda email: json.dumps({"email": email, "password": PASSWORD})
        form = ["Content-Type: application/x-www-form-urlencoded"]
        login = request("POST", "/auth/login", urlencode({"username": email, "password": PASSWORD}), form)
        registered, _ = good(address, request("POST", "/auth/register", body(email)), 201)
        bearer = f"Authorization: Bearer {good(address, login, 200)[0]['access_token']}"
        registering = [request("POST", "/auth/register", body(email)) for email in new_addresses(stand.few)]
        self.register = Sequence(folder, f"fastapi-register-{engine}", registering)
        self.login = Sequence(folder, f"fastapi-login-{engine}", [login] * stand.few)
        tokens = seed.fastapi_tokens(self.database, registered["id"], stand.many // 4)
        refresh = [request("POST", "/auth/refresh", headers=[f"Authorization: Bearer {token}"]) for token in tokens]
        self.cheap = {"refresh": Sequence(folder, f"fastapi-refresh-{engine}", refresh), "me": ("/users/me", bearer)}


class BetterAuth:
    name = "better-auth"

    def __init__(self, engine, postgres, folder, stand):
        if engine == "sqlite":
            database = f"sqlite:{tempfile.mkdtemp(dir=folder)}/auth.db"
        else:
            database = f"postgres://{postgres.database('better-auth')}"
        self.server = subjects.better_auth(database)
        address = self.server.address
        email = new_addresses(1)[0]
        body = lambda email: json.dumps({"email": email, "password": PASSWORD, "name": "bench"})
        login = request("POST", "/api/auth/sign-in/email", body(email))
        good(address, request("POST", "/api/auth/sign-up/email", body(email)), 200)
        _, fields = good(address, login, 200)
        cookie = f"Cookie: {fields['set-cookie'].split(';')[0]}"
        registering = [request("POST", "/api/auth/sign-up/email", body(email)) for email in new_addresses(stand.few)]
        self.register = Sequence(folder, f"better-auth-register-{engine}", registering)
        self.login = Sequence(folder, f"better-auth-login-{engine}", [login] * stand.few)
        session = ("/api/auth/get-session", cookie)
        self.cheap = {"me": session, "session check": session}
