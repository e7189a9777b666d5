"""Processes that are measured: started, watched, ended. And the Redis and PostgreSQL that they work with."""

import contextlib
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from load import ask, request

#: What was started and made, and goes at the end of a part, however that comes.
started = contextlib.ExitStack()


def folder(name):
    """For what a part writes."""
    return started.enter_context(tempfile.TemporaryDirectory(prefix=f"stile-bench-{name}-", ignore_cleanup_errors=True))


def free_port():
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A process and its children, ended together."""

    #: What asks it to end.
    ending = signal.SIGTERM

    def __init__(self, command, env=None, cwd=None, output=subprocess.DEVNULL, user=None):
        self.cwd = cwd or folder("run")
        clean = {"PATH": os.environ["PATH"], "HOME": self.cwd, **(env or {})}
        self.errors = tempfile.TemporaryFile("w+")
        self.began = time.perf_counter()
        self.child = subprocess.Popen(
            command, env=clean, cwd=self.cwd, stdout=output, stderr=self.errors, start_new_session=True, user=user, text=True,
        )
        started.callback(self.stop)

    def pids(self):
        """Itself and all that came of it."""
        parents = {}
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                fields = Path(stat).read_text().rsplit(")", 1)[1].split()
                parents[int(stat.split("/")[2])] = int(fields[1])
            except OSError:
                pass
        found = [self.child.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_seconds(self):
        """User and kernel time so far. A tick of `/proc` is some percent of a short turn; this counts nanoseconds."""
        # What clock_getcpuclockid(3) answers.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def memory_mib(self):
        """Resident, pages that several of its processes share counted once (PSS)."""
        kib = 0
        for pid in self.pids():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
        return kib / 1024

    def peak_mib(self):
        """The most that was resident at once, summed over its processes."""
        peaks = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self.pids()]
        return sum(int(peak[1]) for peak in peaks) / 1024

    def signal(self, number):
        os.killpg(self.child.pid, number)

    def stop(self):
        """May be said twice."""
        if self.child.poll() is None:
            self.signal(self.ending)
            try:
                self.child.wait(8)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.child.wait()


class Server(Process):
    """A process that answers HTTP, from its first good answer to `ready` on. It is told its port, or `announces` one."""

    def __init__(self, name, command, env, cwd=None, announces=False, ready="/health"):
        self.name = name
        port = None if announces else free_port()
        command = [word.replace("{port}", str(port)) for word in command]
        env = {**env, "PORT": "0" if announces else str(port)}
        super().__init__(command, env, cwd, subprocess.PIPE if announces else subprocess.DEVNULL)
        self.address = self.announced() if announces else f"127.0.0.1:{port}"
        while True:
            try:
                status = ask(self.address, request("GET", ready), 2)[0]
                break
            except OSError:
                if self.child.poll() is not None or time.perf_counter() - self.began > 60:
                    self.errors.seek(0)
                    raise SystemExit(f"{name} did not start: {' '.join(command)}\n{self.errors.read()[-2000:]}") from None
                time.sleep(0.001)
        self.started_ms = (time.perf_counter() - self.began) * 1000
        if status != 200:
            raise SystemExit(f"{name} answered {status} to {ready}")

    def announced(self):
        for line in self.child.stdout:
            found = re.search(r'address="?([0-9.]+:[0-9]+)', line)
            if found:
                return found[1]
        raise SystemExit(f"{self.name} ended before it listened")


class Redis(Process):
    """A Redis without a file."""

    def __init__(self, port=None):
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        super().__init__(["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"])
        while subprocess.run(self.cli("PING"), capture_output=True).stdout != b"PONG\n":
            time.sleep(0.01)

    def cli(self, *words):
        return ["redis-cli", "-p", str(self.port), *words]

    def call(self, *words):
        return subprocess.run(self.cli(*words), capture_output=True, text=True, check=True).stdout.strip()


class Postgres(Process):
    """A cluster of its own with the defaults that keep what was committed."""

    #: Fast: it does not wait until its clients have gone.
    ending = signal.SIGINT

    def __init__(self):
        home = folder("pg")
        os.chmod(home, 0o755)
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        user = None
        if os.geteuid() == 0:
            user = next((name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}))
        data = f"{home}/data"
        os.mkdir(data, 0o700)
        if user:
            shutil.chown(data, user)
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        programs = found[-1] if found else os.path.dirname(shutil.which("initdb"))
        initdb = [f"{programs}/initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd="/")
        super().__init__(
            [f"{programs}/postgres", "-D", data, "-p", str(self.port), "-k", "", "-c", "listen_addresses=127.0.0.1"],
            cwd="/", user=user,
        )
        while subprocess.run(self.psql("SELECT 1", "postgres"), capture_output=True).returncode:
            time.sleep(0.05)

    def psql(self, sql, database):
        return ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", f"postgres://bench@127.0.0.1:{self.port}/{database}", "-c", sql]

    def run(self, sql, database="postgres"):
        return subprocess.run(self.psql(sql, database), check=True, capture_output=True, text=True).stdout.strip()

    def copy(self, database, table, columns, lines):
        """Bulk load of tab-separated lines."""
        command = self.psql(f"COPY {table} ({columns}) FROM STDIN", database)
        subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)

    def database(self, name):
        """A new, empty database; its address without a scheme."""
        self.run(f'CREATE DATABASE "{name}"')
        return f"bench@127.0.0.1:{self.port}/{name}"
