"""What requests feel while Redis is frozen, killed and back: asked for at a steady pace, each phase by itself."""

import signal
import time

import subjects
from load import Prober, percentile, request
from servers import Redis


def measure(stand):
    starts = [("stile", lambda url: subjects.stile(REDIS_URL=url), "/api/v1/health")]
    if stand.peers:
        for name, start in (("fastify", subjects.fastify), ("express", subjects.express), ("fastapi + slowapi", subjects.slowapi)):
            starts.append((name, start, "/limited"))
    for name, start, path in starts:
        redis = Redis()
        server = start(redis.url)
        prober = Prober(server.address, request("GET", path), threads=8, every=0.04, timeout=4.0)
        edges = []
        try:
            for phase, act in (
                ("quiet", lambda: None),
                ("frozen", lambda: redis.signal(signal.SIGSTOP)),
                ("thawed", lambda: redis.signal(signal.SIGCONT)),
                ("killed", lambda: redis.signal(signal.SIGKILL)),
            ):
                act()
                edges.append((phase, time.perf_counter()))
                time.sleep(stand.phase_seconds)
            redis.child.wait()
            redis.stop()
            redis = Redis(redis.port)
            edges.append(("back", time.perf_counter()))
            time.sleep(stand.phase_seconds)
        finally:
            seen = prober.stop()
        redis.stop()
        server.stop()
        edges.append(("end", time.perf_counter()))
        for (phase, began), (_, ended) in zip(edges, edges[1:]):
            answers = [(status, took) for at, status, took in seen if began <= at < ended]
            failed = [status for status, _ in answers if status != 200]
            took = [took * 1e3 for _, took in answers]
            add = stand.results.add
            share = 100 * len(failed) / max(1, len(answers))
            add(f"Redis {phase}, failed requests", name, share, "%", answers=len(answers), statuses=sorted(set(failed)))
            add(f"Redis {phase}, p99", name, percentile(took, 0.99), "ms")
            add(f"Redis {phase}, longest", name, max(took, default=float("nan")), "ms")
