"""What an agent removes by itself: finished jobs, once they are older than `jobs.finished_ttl`, and the oldest of them
while all jobs together take more of the disk than `jobs.disk_quota`. Nothing else is ever removed so.

Belongs here: which jobs go, and why. Does not: when that is looked at, and the removal (finished.py), how old a job is
(kept.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prouter.agent.guard.held.measure import TOO_DEEP, Measure
from prouter.agent.jobs.job import Job
from prouter.model.times import rfc3339

TTL, QUOTA = "finished_ttl", "disk_quota"
"""Why a job goes: the setting."""
NAME_CHARACTERS = 100
"""Of a job's name are shown."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: there is none."""

    finished_seconds: float | None
    disk_bytes: int | None


@dataclass(frozen=True, slots=True)
class Doomed:
    """A job that goes."""

    job: Job
    why: str
    size_bytes: int | None
    """None: it was not measured."""

    def shown(self) -> Mapping[str, Any]:
        record = self.job.record
        return {
            "uid": record.uid,
            "name": record.name[:NAME_CHARACTERS],
            "finished_at": rfc3339(record.finished_at),
            "bytes": self.size_bytes,
            "reason": self.why,
        }


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would go now."""

    limits: Limits
    doomed: Sequence[Doomed]
    """Those that finished first come first."""
    total_bytes: int | None
    """Of all jobs, before anything goes; None: it was not measured."""
    measuring_seconds: float

    def shown(self) -> Mapping[str, Any]:
        return {
            "jobs": [doomed.shown() for doomed in self.doomed],
            "total_bytes": self.total_bytes,
            TTL: self.limits.finished_seconds,
            QUOTA: self.limits.disk_bytes,
        }


async def look(jobs: Iterable[Job], limits: Limits, *, measured: bool = False) -> Outlook:
    """What goes under these limits. Sizes are measured where there is a quota, or when `measured`."""
    present = list(jobs)
    begun = time.monotonic()
    wanted = measured or limits.disk_bytes is not None
    sizes = await asyncio.to_thread(_sizes, present) if wanted else {}
    lasted = time.monotonic() - begun
    over = 0 if limits.disk_bytes is None else sum(sizes.values()) - limits.disk_bytes
    doomed = []
    finished = [(job.kept.age_seconds(job.record), job) for job in present if job.record.ended and not job.removing]
    for age, job in sorted(finished, key=lambda pair: pair[0], reverse=True):
        if limits.finished_seconds is not None and age >= limits.finished_seconds:
            why = TTL
        elif over > 0:
            why = QUOTA
        else:
            continue
        over -= sizes.get(job.record.uid, 0)
        doomed.append(Doomed(job, why, sizes.get(job.record.uid)))
    return Outlook(limits, doomed, sum(sizes.values()) if wanted else None, lasted)


def _sizes(jobs: Iterable[Job]) -> dict[str, int]:
    """On disk, by uid: sandbox, output and records. What lies too deep to be measured counts nothing."""
    return {job.record.uid: (Measure(str(job.directory.path)).step(float("inf")) or 0) % TOO_DEEP for job in jobs}
