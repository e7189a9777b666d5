"""What was measured: kept round by round, printed as one table, written as JSON."""

import json
import statistics
import time
from collections import defaultdict

#: What issue 6 asks, in one run on two cores shared with the generator: measure, subject, against, bound. The ratio is taken
#: round by round; its median counts. `at_most`: less is better.
ASKED = [
    ("limited pass, 64 connections", "stile, in memory", "bare axum", 0.60, False),
    ("limited pass, 64 connections", "stile, Redis", "bare axum", 0.35, False),
    ("limited refusal, 64 connections", "stile, in memory", "bare axum", 0.60, False),
    ("limited refusal, 64 connections", "stile, Redis", "bare axum", 0.60, False),
    ("limited pass, 64 connections", "stile, Redis", "fastapi + slowapi", 10, False),
    ("limited pass, 64 connections", "stile, Redis", "fastify", 1.2, False),
    ("login, sqlite", "stile", "raw argon2id", 0.95, False),
    ("login, postgres", "stile", "raw argon2id", 0.95, False),
    ("refresh, sqlite", "stile", "fastapi-users", 10, False),
    ("refresh, postgres", "stile", "fastapi-users", 10, False),
    ("cheap request p99", "stile, storm", "stile, quiet", 5, True),
    ("cold start", "stile", None, 100, True),
    ("memory idle", "stile", None, 20, True),
    ("cpu of a request", "stile, many", "stile, 1000", 1.2, True),
]


class Results:
    def __init__(self, machine):
        self.machine = machine
        self.rounds = defaultdict(list)
        self.units = {}

    def add(self, measure, subject, value, unit, **more):
        """One round of one subject."""
        self.units[measure] = unit
        self.rounds[measure, subject].append({"value": value, "at": round(time.time(), 1), "load": load(), **more})

    def values(self, measure, subject):
        return [found["value"] for found in self.rounds.get((measure, subject), ())]

    def ratio(self, measure, subject, against):
        """The median of the rounds' ratios."""
        pairs = list(zip(self.values(measure, subject), self.values(measure, against)))
        return statistics.median(one / other for one, other in pairs) if pairs and all(other for _, other in pairs) else None

    def table(self):
        """Each measure's subjects under each other; the ratio is to the first one of the measure."""
        lines = [f"{'':42} {'median':>12} {'':5} {'range':>23} {'p99':>10} {'CPU':>9}  ratio"]
        seen, first, last = list(self.units), {}, None
        for (measure, subject), rounds in sorted(self.rounds.items(), key=lambda found: seen.index(found[0][0])):
            reference = first.setdefault(measure, subject)
            if measure != last:
                lines.append(measure)
                last = measure
            values = [found["value"] for found in rounds]
            p99 = statistics.median(found["p99_us"] for found in rounds) if "p99_us" in rounds[0] else None
            cpu = statistics.median(found["cpu_us"] for found in rounds) if "cpu_us" in rounds[0] else None
            ratio = self.ratio(measure, subject, reference)
            lines.append(
                f"  {subject:40} {short(statistics.median(values)):>12} {self.units[measure]:5}"
                f" {short(min(values)):>11}-{short(max(values)):<11}"
                f" {f'{p99 / 1000:.2f} ms' if p99 else '':>10} {f'{cpu:.1f} µs' if cpu else '':>9}"
                f"  {f'{ratio:.2f}' if ratio is not None and subject != reference else ''}"
            )
        return "\n".join(lines)

    def asked(self):
        lines = []
        for prefix, subject, against, bound, at_most in ASKED:
            for measure in sorted({measure for measure, _ in self.rounds if measure.startswith(prefix)}):
                if against:
                    found, what = self.ratio(measure, subject, against), f"{subject} / {against}"
                else:
                    values = self.values(measure, subject)
                    found, what = statistics.median(values) if values else None, f"{subject}, {self.units[measure]}"
                if found is None:
                    continue
                reached = found <= bound if at_most else found >= bound
                sign = "≤" if at_most else "≥"
                lines.append(f"  {measure:40} {what:42} {found:8.2f}  {sign} {bound:<6} {'reached' if reached else 'MISSED'}")
        return "\n".join(lines)

    def write(self, file):
        measures = defaultdict(dict)
        for (measure, subject), rounds in self.rounds.items():
            median = statistics.median(found["value"] for found in rounds)
            measures[measure][subject] = {"median": median, "unit": self.units[measure], "rounds": rounds}
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": self.machine, "measures": measures}, indent=1, ensure_ascii=False)
        file.write_text(text + "\n")


def short(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def load():
    """The load average of the last minute: what else the machine did."""
    with open("/proc/loadavg") as file:
        return float(file.read().split()[0])
