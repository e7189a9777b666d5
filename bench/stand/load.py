"""The load generator: wrk, one thread, and a prober that asks now and then and notes what each answer took."""

import functools
import math
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass
class Round:
    """What one run of wrk counted."""

    requests: int
    rate: float
    refused: int
    broken: int
    p50_us: float
    p99_us: float
    #: What the process that was watched executed for it, where `perf` can tell.
    instructions: float = 0.0


def wrk(address, path, connections, seconds, headers=(), script=None, arguments=(), watched=None):
    """`seconds` of load. `script`: a Lua script instead of one GET that is always the same. `watched`: the process that answers."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "10s", "-s", str(script or HERE / "load.lua")]
    if seconds != int(seconds):
        # It knows whole seconds only, but counts what it has done when it is interrupted.
        command = ["timeout", "--signal=INT", str(seconds), *command]
    if watched and perf_counts():
        command = [*COUNTING, "-p", str(watched), "--", *command]
    for header in headers:
        command += ["-H", header]
    command += [f"http://{address}{path}", "--", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LOAD_LUA": str(HERE / "load.lua")})
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            requests, micros, status, broken, p50, p99, _ = map(float, line.split()[1:])
            return Round(int(requests), requests / micros * 1e6, int(status), int(broken), p50, p99, counted(done.stderr))
    print(f"  wrk: {done.stdout}{done.stderr}".rstrip(), flush=True)
    return Round(0, 0.0, 0, 1, 0.0, 0.0)


COUNTING = ["perf", "stat", "-x;", "-e", "instructions"]


def counted(told):
    """The instructions that `perf` tells of; 0 if it told of none."""
    numbers = [line.split(";")[0] for line in told.splitlines() if ";instructions" in line]
    return float(numbers[0]) if numbers and numbers[0].isdigit() else 0.0


@functools.cache
def perf_counts():
    """Whether it is installed, may count, and has something to count with."""
    try:
        return counted(subprocess.run([*COUNTING, "--", "true"], capture_output=True, text=True).stderr) > 0
    except OSError:
        return False


class Sequence:
    """Requests that are sent once each, over all rounds: new accounts, tokens that are used up."""

    def __init__(self, folder, name, requests):
        self.file = Path(folder) / f"{name}.requests"
        self.used, self.count, self.most = 0, len(requests), 0
        self.places = []
        with self.file.open("wb") as file:
            for request in requests:
                self.places.append(file.tell())
                file.write(b"%d\n" % len(request) + request)

    def load(self, address, connections, seconds, watched=None):
        """One round. What is still on its way at its end counts as used up."""
        arguments = (self.file, self.places[self.used % len(self.places)])
        done = wrk(address, "/", connections, seconds, script=HERE / "requests.lua", arguments=arguments, watched=watched)
        self.used += done.requests + connections
        self.most = max(self.most, done.requests + connections)
        if self.used > self.count:
            print(f"  ({self.file.stem}: only {self.count} requests were prepared, some were sent twice)")
        return done

    def lasts(self):
        """Whether there is enough for another round, and half as much again, as the largest so far."""
        return self.count - self.used >= 1.5 * self.most


def request(method, path, body=None, headers=()):
    """One HTTP request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *headers]
    body = body.encode() if isinstance(body, str) else body or b""
    if body or method == "POST":
        lines += [f"Content-Length: {len(body)}"]
        if not any(line.lower().startswith("content-type") for line in headers):
            lines += ["Content-Type: application/json"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(address, asked, timeout=5.0, connection=None):
    """Status, body and headers of one answer."""
    host, port = address.split(":")
    stream = connection or socket.create_connection((host, int(port)), timeout=timeout)
    try:
        stream.settimeout(timeout)
        stream.sendall(asked)
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += more(stream)
        head, _, body = seen.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        fields = {}
        for line in head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        if "content-length" in fields:
            while len(body) < int(fields["content-length"]):
                body += more(stream)
        elif fields.get("transfer-encoding") == "chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body += more(stream)
            whole, rest = b"", body
            while rest:
                size, _, rest = rest.partition(b"\r\n")
                size = int(size, 16)
                whole, rest = whole + rest[:size], rest[size + 2 :]
                if not size:
                    break
            body = whole
        return status, body, fields
    finally:
        if not connection:
            stream.close()


def more(stream):
    part = stream.recv(65536)
    if not part:
        raise ConnectionError("closed in the midst of an answer")
    return part


def percentile(values, share):
    """Of a list that need not be sorted."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Prober:
    """Asks in the background, `every` seconds on each of some threads: (when, status or 0, seconds) of each."""

    def __init__(self, address, asked, threads=1, every=0.002, timeout=5.0):
        self.address, self.asked, self.every, self.timeout = address, asked, every, timeout
        self.seen, self.stopping = [], False
        self.threads = [threading.Thread(target=self.run, args=(n * every / threads,), daemon=True) for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, delay):
        time.sleep(delay)
        host, port = self.address.split(":")
        stream = None
        while not self.stopping:
            began = time.perf_counter()
            try:
                stream = stream or socket.create_connection((host, int(port)), timeout=self.timeout)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                status = ask(self.address, self.asked, self.timeout, stream)[0]
            except OSError:
                stream, status = None, 0
            self.seen.append((began, status, time.perf_counter() - began))
            time.sleep(self.every)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        return self.seen
