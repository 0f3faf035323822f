"""Counts of requests and of calls of hooks, for metrics: plain values that cost next to nothing to keep."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of the classes of durations; the last class has none."""
PROXIED = "proxy"
"""The route of all requests that went to a job."""


@dataclass(slots=True)
class RequestCount:
    """Finished requests of one route with one status."""

    count: int = 0
    seconds: float = 0.0
    """From the whole head to the answer's end, added up."""
    bytes_in: int = 0
    """Of bodies, from clients."""
    bytes_out: int = 0
    """Of bodies, to clients."""
    durations: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    """How many took at most each bound of BUCKETS and more than the one before."""


@dataclass(slots=True)
class HookCount:
    """Calls of one plugin's implementation of one hook."""

    plugin: str
    hook: str
    calls: int = 0
    """That ended, however they did."""
    failures: int = 0
    """Of these, those after which there was no answer: raised, too slow, or something else than was asked for."""
    seconds: float = 0.0
    """From the call to the answer, what it waited for as well, added up."""
    slowest_seconds: float = 0.0


class Traffic:
    """Requests of one endpoint. Routes are patterns of paths, so that there are only so many."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], RequestCount] = {}
        """By route and status; an empty route is a request that no route was found for."""
        self.connections = 0
        """Open now."""
        self.connections_ever = 0

    def finished(self, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A request is over; status 0 when its client went away before there was an answer."""
        row = self.requests.get((route, status))
        if row is None:
            row = self.requests[route, status] = RequestCount()
        row.count += 1
        row.seconds += seconds
        row.bytes_in += bytes_in
        row.bytes_out += bytes_out
        row.durations[bisect_left(BUCKETS, seconds) if seconds > BUCKETS[0] else 0] += 1
