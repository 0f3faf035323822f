"""What goes through a second: from the counts of several moments, over some seconds, since agents tell now and then.

Pure: moments in, rates out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from prouter.cli.top.asked import Moment, Traffic

OVER_SECONDS = 6.0
"""Three times what an agent lets pass between two tellings (`jobs.activity_interval`)."""
NOTHING = Traffic()


class Rates:
    """Of the newest moment against the oldest one that is kept."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque()

    def add(self, moment: Moment) -> None:
        """A newer one."""
        self._moments.append(moment)
        while len(self._moments) > 2 and moment.at - self._moments[1].at >= OVER_SECONDS:
            self._moments.popleft()

    @property
    def newest(self) -> Moment | None:
        return self._moments[-1] if self._moments else None

    @property
    def seconds(self) -> float:
        """Between the two that are compared; 0 before there are two."""
        return self._moments[-1].at - self._moments[0].at if self._moments else 0.0

    def of_router(self) -> Traffic:
        """Each a second."""
        if not self.seconds:
            return NOTHING
        return self._between(self._moments[0].through_router(), self._moments[-1].through_router())

    def of_jobs(self) -> Mapping[str, Traffic]:
        """By job. One that was not there at the older moment began with nothing."""
        if not self.seconds:
            return {}
        before, now = self._moments[0].through_jobs(), self._moments[-1].through_jobs()
        return {job: self._between(before.get(job, Traffic(requests=0.0)), traffic) for job, traffic in now.items()}

    def of_metric(self, *key: str) -> float | None:
        """How much a counter of the router grew a second."""
        if not self.seconds:
            return None
        before, now = self._moments[0].metric(*key), self._moments[-1].metric(*key)
        return None if before is None or now is None else _grown(before, now) / self.seconds

    def _between(self, before: Traffic, now: Traffic) -> Traffic:
        return Traffic(
            _grown(before.bytes_in, now.bytes_in) / self.seconds,
            _grown(before.bytes_out, now.bytes_out) / self.seconds,
            None if now.requests is None else _grown(before.requests or 0.0, now.requests) / self.seconds,
        )


def _grown(before: float, now: float) -> float:
    """Who counts less than before began anew."""
    return now - before if now >= before else now


def total(traffic: Iterable[Traffic]) -> Traffic:
    """Added up."""
    parts = list(traffic)
    told = [part.requests for part in parts if part.requests is not None]
    return Traffic(_sum(parts, lambda t: t.bytes_in), _sum(parts, lambda t: t.bytes_out), sum(told) if told else None)


def _sum(parts: Iterable[Traffic], field: Callable[[Traffic], float]) -> float:
    return sum(map(field, parts))
