"""What a cheap request takes while 64 logins are asked for at once, all the time."""

import json
import subprocess
import time

import subjects
from accounts import API, PASSWORD, good
from load import HERE, Prober, Sequence, percentile, request, wrk

LOGINS = 64


def measure(stand):
    server = subjects.stile(ENABLE_RATE_LIMITING="false")
    body = json.dumps({"email": "ada@example.com", "password": PASSWORD})
    good(server.address, request("POST", f"{API}/auth/register", body), 201)
    storm = Sequence(server.cwd, "storm", [request("POST", f"{API}/auth/login", body)] * 100)
    command = [
        "wrk", "-t1", f"-c{LOGINS}", "-d600s", "--timeout", "10s", "-s", str(HERE / "requests.lua"),
        f"http://{server.address}/", "--", str(storm.file), "0",
    ]
    idle = server.memory_mib()
    for _ in stand.rounds():
        latencies(stand, "stile, quiet", server)
        logins = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", "LOAD_LUA": str(HERE / "load.lua")},
                                  stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            latencies(stand, "stile, storm", server)
        finally:
            logins.kill()
            logins.wait()
        time.sleep(1.6)  # The logins that still wait are given up.
    stand.results.add("memory in a storm of 64 logins", "stile, before", idle, "MiB")
    stand.results.add("memory in a storm of 64 logins", "stile, peak", server.peak_mib(), "MiB")
    stand.results.add("memory in a storm of 64 logins", "stile, after", server.memory_mib(), "MiB")


def latencies(stand, subject, server):
    """A request each 2 ms on one connection, so that the prober itself is no load."""
    prober = Prober(server.address, request("GET", f"{API}/health"))
    time.sleep(2 * stand.seconds)
    took = [seconds * 1e6 for _, status, seconds in prober.stop() if status == 200]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        stand.results.add(f"cheap request {name}", subject, percentile(took, share), "µs", count=len(took))
