"""How much of the disk each job takes: measured for all who want to know at the same time, by one thread.

The thread is nobody's to wait for: a disk that does not answer holds up who asked, and neither other work on files nor
the agent's end. Belongs here: who measures, when, and in which order. Does not: the walk (guard/held/measure.py), what
is done about it (clean_up.py).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from prouter.agent.guard.held.measure import TOO_DEEP, File, Measure
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.set_aside import SetAside
from prouter.model.ids import JobUid

Measured = Job | SetAside
SLICE_SECONDS, REST_SECONDS = 0.005, 0.005
"""Walked in one go, and left to others behind that."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of jobs that were there when it was begun."""

    by_job: Mapping[JobUid, int]
    """Bytes on disk of sandbox, output and records. A file that several jobs have is of the one that goes last. What
    lies too deep to be measured counts nothing."""
    seconds: float
    """It took."""

    def of(self, jobs: Iterable[Measured]) -> int:
        """Together, without those that are being removed or came since."""
        return sum(self.by_job.get(job.record.uid, 0) for job in jobs if not job.removing)


NOT_MEASURED = Sizes({}, 0.0)


class Measuring:
    """One measurement at a time; it goes on when nobody waits any more, so that who asks again gets it."""

    def __init__(self) -> None:
        self._under_way: asyncio.Future[Sizes] | None = None
        self._closed = threading.Event()

    async def sizes(self, jobs: Iterable[Measured]) -> Sizes:
        """Raises what the walk failed with."""
        if self._under_way is None:
            self._begin(_last_to_go_first(jobs))
        assert self._under_way is not None
        return await asyncio.shield(self._under_way)

    def close(self) -> None:
        """Who waits is not answered any more."""
        self._closed.set()
        if self._under_way is not None:
            self._under_way.cancel()

    def _begin(self, places: Sequence[tuple[JobUid, str]]) -> None:
        loop = asyncio.get_running_loop()
        sizes: asyncio.Future[Sizes] = loop.create_future()

        def told(found: Sizes | Exception) -> None:
            self._under_way = None
            if sizes.done():
                return
            if isinstance(found, Sizes):
                sizes.set_result(found)
            else:
                sizes.set_exception(found)
                sizes.exception()  # whether or not anybody waits still

        def work() -> None:
            found: Sizes | Exception
            try:
                found = self._measure(places)
            except Exception as error:  # noqa: BLE001 -- whoever asked gets it
                found = error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(told, found)

        threading.Thread(target=work, name="sizes of jobs", daemon=True).start()
        self._under_way = sizes

    def _measure(self, places: Sequence[tuple[JobUid, str]]) -> Sizes:
        """In the thread."""
        begun = time.monotonic()
        until = begun + SLICE_SECONDS
        linked: set[File] = set()
        found: dict[JobUid, int] = {}
        for uid, path in places:
            measure = Measure(path, linked)
            while (size := measure.step(until - time.monotonic())) is None:
                if self._closed.wait(REST_SECONDS):
                    return NOT_MEASURED
                until = time.monotonic() + SLICE_SECONDS
            found[uid] = size % TOO_DEEP
        return Sizes(found, time.monotonic() - begun)


def _last_to_go_first(jobs: Iterable[Measured]) -> list[tuple[JobUid, str]]:
    """So that what a job takes is what its removal gives back."""

    def order(job: Measured) -> tuple[bool, float]:
        return job.record.ended, job.kept.age_seconds(job.record)

    return [(job.record.uid, str(job.directory.path)) for job in sorted(jobs, key=order)]
