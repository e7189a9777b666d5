"""Who is measured: stile in its configurations, its peers, and what bounds them all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from servers import Server

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench/peers"
# Where `cargo` put the program; the peers' packages lie beside it.
TARGET = Path(os.environ["BARE"]).parents[2]
INSTALLED = TARGET / "bench"
STILE = TARGET / "release/stile"
BARE = os.environ["BARE"]

#: No limit is met by accident, yet every request is counted.
LENIENT = {
    "ENVIRONMENT": "test", "LOG_FORMAT": "json", "JWT_SECRET": "only for the bench, thirty-two bytes or more",
    **{f"RATE_LIMIT_{rule}": "1000000000/minute" for rule in (
        "GLOBAL", "REGISTRATION", "LOGIN", "REFRESH", "LOGIN_ACCOUNT", "MAIL_ACCOUNT", "GATEWAY_FAILURES")},
    "API_TOKEN_RATE_LIMIT": "1000000000/minute;1000000000/hour;1000000000/day",
}


def stile(name="stile", **variables):
    """At its usual log level; the lines go to /dev/null, as the peers' would."""
    return Server(name, [str(STILE)], {**LENIENT, **variables})


def bare():
    return Server("bare axum", [BARE, "hello"], {}, announces=True, ready="/")


def install_peers():
    """Into `target/bench`, once for each state of the lock files."""
    for name in ("fastify", "express", "better-auth"):
        folder, source = INSTALLED / name, PEERS / name
        lock = (source / "package-lock.json").read_text()
        stamp = folder / "installed.lock"
        folder.mkdir(parents=True, exist_ok=True)
        if not stamp.exists() or stamp.read_text() != lock:
            for file in ("package.json", "package-lock.json"):
                shutil.copy(source / file, folder)
            run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder)
            stamp.write_text(lock)
        # Beside its packages, where node looks for them.
        shutil.copy(source / "app.mjs", folder)
    wanted = (PEERS / "python/requirements.txt").read_text()
    stamp = INSTALLED / "python/installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        run([sys.executable, "-m", "venv", str(INSTALLED / "python")], ROOT)
        run([str(INSTALLED / "python/bin/pip"), "install", "-q", "-r", str(PEERS / "python/requirements.txt")], ROOT)
        stamp.write_text(wanted)


def run(command, cwd):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {cwd}:\n{done.stdout[-3000:]}")


def node(folder, **variables):
    """One process a core, as their makers advise."""
    variables = {"NODE_ENV": "production", **variables}
    return Server(folder, ["node", "app.mjs"], variables, cwd=str(INSTALLED / folder))


def python(name, app, **variables):
    """One process a core."""
    command = [
        str(INSTALLED / "python/bin/uvicorn"), f"{app}:app", "--port", "{port}", "--workers", str(os.cpu_count()),
        "--no-access-log", "--log-level", "warning", "--app-dir", str(PEERS / "python"),
        # On a busy machine a worker is slow to say that it lives, and would be ended for it.
        "--timeout-worker-healthcheck", "60",
    ]
    variables = {"PYTHONDONTWRITEBYTECODE": "1", **variables}
    return Server(name, command, variables)


def slowapi(redis):
    return python("fastapi + slowapi", "slowapi_app", REDIS_URL=redis)


def fastify(redis):
    return node("fastify", REDIS_URL=redis)


def express(redis):
    return node("express", REDIS_URL=redis)


def better_auth(database):
    """On SQLite one process: two of them refuse each other's writes on one file. Its hashing has threads of its own."""
    one = {"WORKERS": "1"} if database.startswith("sqlite:") else {}
    return node("better-auth", DATABASE=database, **one)
