"""On what it was measured, and with which versions."""

import os
import platform
import subprocess
from datetime import datetime, timezone

from results import load


def said(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        lines = (done.stdout or done.stderr).splitlines()
        return lines[0].strip() if lines else None
    except OSError:
        return None


def describe(seconds, rounds):
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load_at_start": load(),
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "commit": said("git", "rev-parse", "--short", "HEAD"),
        "rustc": said("rustc", "--version"),
        "wrk": said("wrk", "--version"),
        "redis": said("redis-server", "--version"),
        "postgres": said("psql", "--version"),
        "node": said("node", "--version"),
        "python": platform.python_version(),
        "peers": "bench/peers/*/package-lock.json, bench/peers/python/requirements.txt",
        "seconds_a_round": seconds,
        "rounds": rounds,
    }
