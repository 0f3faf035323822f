"""What an agent removes by itself: finished jobs, once they are older than `jobs.finished_ttl`, and the oldest of them
while all jobs together take more of the disk than `jobs.disk_quota`. Those that were set aside with a torn record count
as finished since then. Nothing else is ever removed so.

Belongs here: which jobs go, and why. Does not: when that is looked at, and the removal (finished.py), how old a job is
(kept.py), how much it takes (measuring.py), what was set aside (set_aside.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prouter.agent.jobs.measuring import NOT_MEASURED, Measured, Measuring, Sizes
from prouter.model.jobs import JobRecord
from prouter.model.times import rfc3339

TTL, QUOTA = "finished_ttl", "disk_quota"
"""Why a job goes: the setting."""
NAME_CHARACTERS = 100
"""Of a job's name are shown."""
MAX_SHOWN = 1000
"""Jobs in one answer; all are counted. A link takes 65,536 elements, six for each job."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: there is none."""

    finished_seconds: float | None
    disk_bytes: int | None


@dataclass(frozen=True, slots=True)
class Doomed:
    """A job that goes."""

    job: Measured
    record: JobRecord
    """As it was looked at: with another one it has run anew since."""
    why: str
    size_bytes: int | None
    """None: it was not measured."""

    def shown(self) -> Mapping[str, Any]:
        record = self.record
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
    sizes: Sizes

    def shown(self) -> Mapping[str, Any]:
        return {
            "jobs": [doomed.shown() for doomed in self.doomed[:MAX_SHOWN]],
            "count": len(self.doomed),
            "freed_bytes": sum(doomed.size_bytes or 0 for doomed in self.doomed),
            "total_bytes": self.total_bytes,
            TTL: self.limits.finished_seconds,
            QUOTA: self.limits.disk_bytes,
        }


async def look(
    jobs: Iterable[Measured],
    limits: Limits,
    measuring: Measuring,
    *,
    measured: bool = False,
    patience_seconds: float | None = None,
) -> Outlook:
    """What goes under these limits, of jobs that can be gone through several times. Sizes are measured where there is a
    quota, or when `measured`; nothing goes for the quota when they are not known within `patience_seconds`."""
    sizes = None
    if measured or limits.disk_bytes is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                sizes = await measuring.sizes(jobs)
    present = [job for job in jobs if not job.removing]  # since then some were removed, and give room
    total = None if sizes is None else sizes.of(present)
    over = 0 if total is None or limits.disk_bytes is None else total - limits.disk_bytes
    doomed = []
    finished = [(job.kept.age_seconds(job.record), job) for job in present if job.record.ended]
    for age, job in sorted(finished, key=lambda pair: pair[0], reverse=True):
        if limits.finished_seconds is not None and age >= limits.finished_seconds:
            why = TTL
        elif over > 0:
            why = QUOTA
        else:
            continue
        size = None if sizes is None else sizes.by_job.get(job.record.uid)
        over -= size or 0
        doomed.append(Doomed(job, job.record, why, size))
    return Outlook(limits, doomed, total, sizes or NOT_MEASURED)
