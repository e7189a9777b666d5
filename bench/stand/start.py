"""The time from the start of the process to its first good answer, and the memory it takes at rest."""

import resource
import socket
import time

import subjects
from load import request
from servers import Redis, folder

HEALTH = request("GET", "/health")


def measure(stand):
    redis, databases = Redis(), folder("start")
    starts = [
        ("stile", lambda: subjects.stile()),
        ("stile, Redis", lambda: subjects.stile(REDIS_URL=redis.url)),
    ]
    if stand.peers:
        starts += [
            ("fastify", lambda: subjects.fastify(redis.url)),
            ("express", lambda: subjects.express(redis.url)),
            ("fastapi + slowapi", lambda: subjects.slowapi(redis.url)),
            ("fastapi-users", lambda: subjects.python("", "users_app", DATABASE_URL=f"sqlite+aiosqlite:///{databases}/users.db")),
            ("better-auth", lambda: subjects.better_auth(f"sqlite:{databases}/auth.db")),
        ]
    for _ in stand.rounds():
        for name, start in starts:
            server = start()
            stand.results.add("cold start", name, server.started_ms, "ms")
            time.sleep(1)
            stand.results.add("memory idle", name, server.memory_mib(), "MiB")
            server.stop()
    connections(stand)


def connections(stand):
    """Connections that have had an answer and rest."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(stand.idle_connections, hard - 200)
    server = subjects.stile()
    before = server.memory_mib()
    host, port = server.address.split(":")
    open_ones = []
    try:
        for n in range(wanted):
            one = socket.create_connection((host, int(port)), timeout=30)
            one.sendall(HEALTH)
            open_ones.append(one)
            if n % 500 == 499 or n == wanted - 1:
                one.recv(4096)
        time.sleep(3)
        measure = f"memory with {wanted} idle connections"
        stand.results.add(measure, "stile, none yet", before, "MiB")
        stand.results.add(measure, "stile, all at rest", server.memory_mib(), "MiB")
        stand.results.add("memory of an idle connection", "stile", (server.memory_mib() - before) * 1024 / wanted, "KiB")
    finally:
        for one in open_ones:
            one.close()
