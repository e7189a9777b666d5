"""A limited request that passes, and one that is refused: in memory, through Redis, beside peers, beside a bare axum."""

import subprocess
from pathlib import Path

import subjects
from load import ask, request, wrk
from servers import Redis

HEALTH = "/api/v1/health"
TAKE = Path(__file__).parents[2] / "src/rate_limit/store/take.lua"


def measure(stand):
    redis = Redis()
    through = {"REDIS_URL": redis.url}
    # The local stage would refuse a flood before the limiter is asked; here the limiter itself is to refuse.
    refusing = {"RATE_LIMIT_GLOBAL": "1/day", "RATE_LIMIT_BURST": "1000000000"}
    bare = subjects.bare()
    passing = [
        ("bare axum", bare, "/"),
        ("stile, no limits", subjects.stile(ENABLE_RATE_LIMITING="false"), HEALTH),
        ("stile, in memory", subjects.stile(), HEALTH),
        ("stile, Redis", subjects.stile(**through), HEALTH),
    ]
    refused = [
        ("bare axum", bare, "/"),
        ("stile, in memory", subjects.stile(**refusing), HEALTH),
        ("stile, Redis", subjects.stile(**refusing, **through, REDIS_KEY_PREFIX="refuse"), HEALTH),
    ]
    if stand.peers:
        for start in (subjects.fastify, subjects.express, subjects.slowapi):
            peer = start(redis.url)
            passing.append((peer.name, peer, "/limited"))
            refused.append((peer.name, peer, "/refused"))
    for connections in stand.connections:
        for _ in stand.rounds():
            for name, server, path in passing:
                one(stand, f"limited pass, {connections} connections", name, server, path, connections, 0)
            if connections == 64:
                stand.results.add("the script alone, 64 connections", "redis-benchmark", script_rate(redis), "/s")
            for name, server, path in refused:
                one(stand, f"limited refusal, {connections} connections", name, server, path, connections, 1)


def one(stand, measure, name, server, path, connections, refused):
    ask(server.address, request("GET", path))  # The first one passes everywhere.
    cpu = server.cpu_seconds()
    done = wrk(server.address, path, connections, stand.seconds)
    cpu = (server.cpu_seconds() - cpu) / max(1, done.requests) * 1e6
    wanted = done.requests if refused and name != "bare axum" else 0
    if abs(done.refused - wanted) > connections or done.broken:
        failed = f"{measure}: {name}: {done.refused} of {done.requests} refused, {done.broken} broken"
        if name.startswith("stile"):
            raise SystemExit(failed)
        print(f"  not counted: {failed}", flush=True)
        return
    stand.results.add(measure, name, done.rate, "/s", p50_us=done.p50_us, p99_us=done.p99_us, cpu_us=cpu)


def script_rate(redis):
    """What Redis itself manages of the same script with one take a call."""
    sha = redis.call("SCRIPT", "LOAD", TAKE.read_text())
    words = [
        "redis-benchmark", "-p", str(redis.port), "-c", "64", "-n", "100000", "--csv",
        "EVALSHA", sha, "1", "rate_limit:ip:127.0.0.9", "1", "1000000000", "60000", "1", "0", "0",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1].split('","')[1])
