"""What the figures of raw rows are, the ratios between systems, and the goals. Knows nothing of pages."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.rows import Measured, in_order

OURS, ASYNCIO, CHP, NGINX = "prouter (uvloop)", "prouter (asyncio)", "configurable-http-proxy x1", "nginx x2"
OTHERS = ("nginx x1", NGINX, "haproxy x2", CHP, "configurable-http-proxy x2")
REQUESTS = ("rate", "cpu_us", "p50_ms", "p99_ms")
MORE_IS_BETTER = ("rate", "gib_s")
TRANSFER = ("gib_s", "cpu_s_gib", "memory_mib")


@dataclass(frozen=True, slots=True)
class Told:
    """A load as pages tell of it."""

    title: str
    figures: tuple[str, ...]
    main: str
    """The figure by which systems are compared: what it costs, so that less is better."""


TOLD = {
    "get32": Told("GET over 32 connections", (*REQUESTS, "memory_mib"), "cpu_us"),
    "get256": Told("GET over 256 connections", REQUESTS, "cpu_us"),
    "burst": Told("GET over 256 connections in the first second from cold", ("rate", "p50_ms", "p99_ms"), "p99_ms"),
    "headers": Told("GET with twelve browser headers", REQUESTS, "cpu_us"),
    "unlike": Told("GET with other headers each time", REQUESTS, "cpu_us"),
    "post": Told("POST of 100 bytes over 32 connections", REQUESTS, "cpu_us"),
    "new": Told("GET on a new connection each", REQUESTS, "cpu_us"),
    "down": Told("1 GiB down", TRANSFER, "cpu_s_gib"),
    "up": Told("1 GiB up", TRANSFER, "cpu_s_gib"),
    "sockets": Told("Websocket 64 x 64 B", REQUESTS, "cpu_us"),
    "beside": Told("GETs beside a bulk download", ("rate", "p50_ms", "p99_ms", "gib_s"), "p99_ms"),
    "idle": Told("1,000 idle Websockets", ("mib",), "mib"),
}
"""In the order of the page. Rows of other loads are about prouter alone."""
UNITS = {
    "rate": "a second",
    "cpu_us": "us of CPU each",
    "p50_ms": "ms p50",
    "p99_ms": "ms p99",
    "gib_s": "GiB/s",
    "cpu_s_gib": "s of CPU a GiB",
    "mib": "MiB",
    "memory_mib": "MiB of memory",
    "errors": "errors",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """The figure of a system, or its ratio to that of another, is at most or at least so much."""

    load: str
    figure: str
    against: str | None
    sign: str
    bound: float
    system: str = OURS

    def text(self) -> str:
        who = "" if self.system == OURS else f" on {self.system}"
        beside = f" beside {self.against}" if self.against else ""
        return f"{TOLD[self.load].title}{who}: {UNITS[self.figure]}{beside}"

    def found(self, measured: Measured) -> list[float]:
        """One of each round; of errors one of all, since none is none."""
        if self.against is not None:
            return ratios(measured, self.load, self.figure, self.system, self.against)
        found = measured.values(self.figure, load=self.load, system=self.system)
        return [sum(found)] if found and self.figure == "errors" else found

    def is_near(self, measured: Measured) -> bool:
        """Whether some rounds say otherwise than their median does."""
        found = self.found(measured)
        return bool(found) and min(found) <= self.bound <= max(found) and min(found) != max(found)

    def holds(self, measured: Measured) -> bool | None:
        """None when it was not measured."""
        found = self.found(measured)
        if not found:
            return None
        median = statistics.median(found)
        return median <= self.bound if self.sign == "<=" else median >= self.bound


GOALS = (
    Goal("get32", "cpu_us", CHP, "<=", 0.20),
    Goal("get32", "rate", CHP, ">=", 5.0),
    Goal("get32", "p99_ms", CHP, "<=", 0.4),
    Goal("get32", "cpu_us", NGINX, "<=", 1.25),
    Goal("get256", "rate", CHP, ">=", 5.0),
    Goal("get256", "errors", None, "<=", 0.0),
    Goal("headers", "cpu_us", CHP, "<=", 0.20),
    Goal("headers", "cpu_us", NGINX, "<=", 1.4),
    Goal("new", "cpu_us", CHP, "<=", 0.35),
    Goal("new", "rate", CHP, ">=", 3.0),
    Goal("down", "cpu_s_gib", CHP, "<=", 0.4),
    Goal("up", "cpu_s_gib", CHP, "<=", 0.6),
    Goal("sockets", "cpu_us", CHP, "<=", 0.8),
    Goal("sockets", "rate", CHP, ">=", 1.0),
    Goal("beside", "p99_ms", CHP, "<=", 0.4),
    Goal("idle", "mib", None, "<=", 12.0),
    Goal("get32", "rate", CHP, ">=", 4.0, system=ASYNCIO),
)


def ratios(measured: Measured, load: str, figure: str, ours: str, theirs: str) -> list[float]:
    """One of each round in which both have the figure: they were measured shortly after each other there."""
    return ratios_of(measured, figure, (load, ours), (load, theirs))


def ratios_of(measured: Measured, figure: str, one: tuple[str, str], other: tuple[str, str]) -> list[float]:
    """The same of any two loads and systems."""
    rounds: dict[int, dict[tuple[str, str], float]] = {}
    for row in measured.rows:
        if (row["load"], row["system"]) in (one, other) and figure in row:
            rounds.setdefault(row["round"], {})[row["load"], row["system"]] = row[figure]
    return [found[one] / found[other] for found in rounds.values() if len(found) == 2 and found[other]]


def ratio(measured: Measured, load: str, figure: str, ours: str, theirs: str) -> float | None:
    """The median of the rounds' ratios."""
    found = ratios(measured, load, figure, ours, theirs)
    return statistics.median(found) if found else None


def worse(measured: Measured, load: str, figure: str, ours: str, theirs: str) -> float | None:
    """How many times as bad ours is, in two digits, as the median of the rounds; None where it is not worse."""
    found = ratio(measured, load, figure, ours, theirs)
    if not found:
        return None
    times = round(1 / found if figure in MORE_IS_BETTER else found, 2)
    return times if times > 1 else None


def rounds(measured: Measured) -> int:
    return len({row["round"] for row in measured.rows})


def systems(measured: Measured) -> list[str]:
    """Those that were under the loads that are compared, in the order of the raw rows' first round."""
    return in_order(row["system"] for row in measured.rows if row["system"] in (*OTHERS, "direct", OURS, ASYNCIO))


def loads(measured: Measured) -> list[str]:
    there = {row["load"] for row in measured.rows}
    return [load for load in TOLD if load in there]


def errors(measured: Measured) -> list[str]:
    """A line for each system and load in which something went wrong, and what was said of it."""
    lines = []
    for system in in_order(row["system"] for row in measured.rows):
        for load in in_order(row["load"] for row in measured.rows):
            rows = [row for row in measured.rows if row["system"] == system and row["load"] == load]
            count = sum(row.get("errors", 0) for row in rows)
            if count:
                said = next((f", the first: {row['broken']}" for row in rows if "broken" in row), "")
                title = TOLD[load].title if load in TOLD else load
                lines.append(f"{system}, {title}: {count:g} errors in {len(rows)} rounds{said}")
    return lines
