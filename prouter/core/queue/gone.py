"""Jobs that were given up in the queue, for as long as somebody may ask why. Bounded in number and in time."""

from __future__ import annotations

import time

from prouter.model.ids import JobUid
from prouter.model.queue import QueuedJob


class Gone:
    """Oldest first."""

    def __init__(self, most: int, kept_seconds: float) -> None:
        self._most = most
        self._kept_seconds = kept_seconds
        self._jobs: dict[JobUid, tuple[QueuedJob, str, float]] = {}
        """How it ended, what was asked for, and until when that is told (monotonic)."""

    def add(self, job: QueuedJob, asked: str) -> None:
        self._jobs[job.uid] = job, asked, time.monotonic() + self._kept_seconds
        self._forget_old()

    def get(self, job: JobUid) -> QueuedJob | None:
        self._forget_old()
        found = self._jobs.get(job)
        return found[0] if found is not None else None

    def asked(self, job: JobUid) -> str:
        """The digest of what was asked for. Raises KeyError."""
        return self._jobs[job][1]

    def forget(self, job: JobUid) -> None:
        self._jobs.pop(job, None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        while self._jobs:
            oldest = next(iter(self._jobs))
            if len(self._jobs) <= self._most and self._jobs[oldest][2] > now:
                return
            del self._jobs[oldest]
