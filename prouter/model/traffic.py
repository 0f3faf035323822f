"""Counts of requests, of calls of hooks, of how late the event loop is: plain values that cost next to nothing to keep.

For metrics, and for whoever looks at a daemon.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

from prouter.model.ids import JobUid

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of the classes of durations; the last class has none."""
MOST_JOBS = 20_000
"""Whose requests are counted; of more, those that were asked for the first time last."""
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


@dataclass(slots=True)
class LoopCount:
    """How late an event loop came to what was due, looked at a few times a second."""

    looks: int = 0
    seconds: float = 0.0
    """Added up."""
    durations: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    """How many looks were at most as late as each bound of BUCKETS and later than the one before."""
    slow: int = 0
    """How often something held it for longer than `loop.slow_callback`."""
    worst: tuple[tuple[float, float], tuple[float, float]] = ((0.0, -math.inf), (0.0, -math.inf))
    """The most seconds in this part of a minute and in the one before, each with the time of its begin."""

    def note(self, late_seconds: float, now: float, within_seconds: float) -> None:
        """One look, at `now` of a clock that only grows."""
        self.looks += 1
        self.seconds += late_seconds
        self.durations[bisect_left(BUCKETS, late_seconds) if late_seconds > BUCKETS[0] else 0] += 1
        most, began = self.worst[0]
        if now - began >= within_seconds / 2:
            self.worst = ((late_seconds, now), self.worst[0] if now - began < within_seconds else (0.0, -math.inf))
        elif late_seconds > most:
            self.worst = ((late_seconds, began), self.worst[1])

    @property
    def worst_seconds(self) -> float:
        """The most within the last half minute to minute."""
        return max(self.worst[0][0], self.worst[1][0])


class Traffic:
    """Requests of one endpoint. Routes are patterns of paths, so that there are only so many."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], RequestCount] = {}
        """By route and status; an empty route is a request that no route was found for."""
        self.connections = 0
        """Open now."""
        self.connections_ever = 0
        self.by_job: dict[JobUid, int] = {}
        """Finished requests to a job's ports."""
        self.decided_anew = 0
        """Finished proxied requests about which all was decided anew. The others are not counted: that is the way of
        most, where each count is paid for."""
        self.had_exchange = 0
        """Those that did not go the short way to their end (web/short.py), for the same reason."""

    @property
    def proxied(self) -> int:
        """Finished requests for jobs' ports."""
        return sum(row.count for (route, _), row in self.requests.items() if route == PROXIED)

    @property
    def alike(self) -> int:
        """Of these, those for which what had been decided about one before was enough."""
        return self.proxied - self.decided_anew

    @property
    def short(self) -> int:
        """And those that had no exchange."""
        return self.proxied - self.had_exchange

    def finished(
        self, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int, job: JobUid | None = None
    ) -> None:
        """A request is over, one to a port of `job`; status 0 when its client went away before there was an answer."""
        if job is not None:
            known = self.by_job.get(job)
            if known is None and len(self.by_job) >= MOST_JOBS:
                del self.by_job[next(iter(self.by_job))]
            self.by_job[job] = 1 if known is None else known + 1
        row = self.requests.get((route, status))
        if row is None:
            row = self.requests[route, status] = RequestCount()
        row.count += 1
        row.seconds += seconds
        row.bytes_in += bytes_in
        row.bytes_out += bytes_out
        row.durations[bisect_left(BUCKETS, seconds) if seconds > BUCKETS[0] else 0] += 1
