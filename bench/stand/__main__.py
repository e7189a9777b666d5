"""See bench/run."""

import argparse
import signal
import sys
import time
from datetime import datetime, timezone

import accounts
import growth
import limited
import machine
import redis_lost
import servers
import start
import storm
import subjects
from results import Results, load

PARTS = {
    "limited": limited.measure,
    "accounts": accounts.measure,
    "storm": storm.measure,
    "start": start.measure,
    "redis-lost": redis_lost.measure,
    "growth": growth.measure,
}


class Stand:
    """How much is measured, and where the results go."""

    def __init__(self, size):
        self.peers = size != "smoke"
        self.seconds, self.number_of_rounds = {"smoke": (1, 1), "quick": (1, 3), "full": (4, 5)}[size]
        # Pairs of turns of a small and a large server, and the seconds of a turn.
        self.turns, self.turn_seconds = {"smoke": (2, 0.4), "quick": (12, 0.4), "full": (24, 0.8)}[size]
        self.connections = {"smoke": (4,), "quick": (1, 64), "full": (1, 16, 64, 256)}[size]
        # Requests prepared for what hashes, and for what uses its tokens up.
        self.few, self.many = {"smoke": (400, 4000), "quick": (2000, 100_000), "full": (8000, 400_000)}[size]
        self.population = {"smoke": 2000, "quick": 100_000, "full": 1_000_000}[size]
        self.idle_connections = {"smoke": 100, "quick": 2000, "full": 10_000}[size]
        self.phase_seconds = {"smoke": 1, "quick": 3, "full": 6}[size]
        self.results = Results(machine.describe(self.seconds, self.number_of_rounds))

    def rounds(self):
        return range(self.number_of_rounds)


def main():
    parser = argparse.ArgumentParser(prog="bench/run", description="stile beside its peers, on this machine, in one table")
    parser.add_argument("--quick", action="store_true", help="everything in small, some ten minutes")
    parser.add_argument("--smoke", action="store_true", help="only whether it runs: no peers, a few seconds")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    words = parser.parse_args()
    size = "smoke" if words.smoke else "quick" if words.quick else "full"
    # What was started is stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stand = Stand(size)
    parts = ["limited"] if words.smoke else words.only
    if stand.peers:
        subjects.install_peers()
    for name, value in stand.results.machine.items():
        print(f"{name:16} {value}")
    try:
        for name in parts:
            began = time.monotonic()
            print(f"\n{name}: load {load():.1f} …", flush=True)
            with servers.started:
                PARTS[name](stand)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        print(f"\n{stand.results.table()}\n")
        asked = stand.results.asked()
        if asked:
            print(f"asked by issue 6 (median of the rounds' ratios):\n{asked}\n")
        print(f"load at the end: {load():.1f}")
        if stand.results.rounds and not words.smoke:
            stamp = datetime.now(timezone.utc).strftime("%Y-%m-%d-%H%M")
            file = subjects.ROOT / f"bench/results/{stamp}-{size}.json"
            stand.results.write(file)
            print(f"written: {file.relative_to(subjects.ROOT)}")


sys.exit(main())
